"""Late events: what is expired on arrival is refused, kept as a dead letter, and counted; never accepted and unseen."""

import io
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import InvalidEventError, LateEventError
from auditkit.opening import create, open_trail
from auditkit.queue.dead_letters import read_letters
from auditkit.sources.importer import import_records
from auditkit.sources.logging import AuditHandler
from auditkit.sources.mapping import plan_mapping
from auditkit.sources.readers import open_input
from auditkit.trail.late import LOOK_EVERY_US
from auditkit.write.retry import as_given, retry_letters
from tests.aging import trust
from tests.fakes import ManualClock

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
DAY, TINY = timedelta(days=1), timedelta(microseconds=1)
RULES = {"auth.*": "7y", "debug.*": "7d", "*": "90d"}


@pytest.fixture
def ruled(make_trail: Callable[..., Trail]) -> Trail:
    """Return a trail with rules whose horizon is the clock's moment."""
    trail = make_trail(retention=RULES)
    trail.append(action="now", ts=NOW).wait()
    trust(trail, NOW)
    return trail


def shown(trail: Trail) -> list[str]:
    """Return the actions that a question shows, in order of seqs."""
    return trail.range().sort("seq")["action"].to_list()


@pytest.mark.parametrize(
    ("action", "cutoff", "rule"),
    [
        ("auth.login", datetime(2019, 11, 24, 8, tzinfo=UTC), "auth.* 7y"),
        ("debug.dump", NOW - 7 * DAY, "debug.* 7d"),
        ("doc.read", NOW - 90 * DAY, "* 90d"),
    ],
)
def test_append_refuses_what_its_rule_keeps_no_more(
    ruled: Trail, action: str, cutoff: datetime, rule: str
) -> None:
    """The last moment of a rule is accepted and shown; the one before it raises, names the rule, and leaves no trace."""
    ruled.append(action=action, ts=cutoff).wait()
    assert shown(ruled) == ["now", action]
    before = ruled.stats().queue.committed
    with pytest.raises(LateEventError) as caught:
        ruled.append(action=action, ts=cutoff - TINY)
    error = caught.value
    assert (error.field, error.value) == ("ts", cutoff - TINY)
    assert (
        error.reason == f"expired on arrival: rule {rule} keeps what is from {cutoff:%Y-%m-%d %H:%M} UTC on"
    )
    assert error.__notes__ == ["a longer policy, or a hold on its time, lets it in"]
    stats = ruled.stats()
    assert (stats.queue.committed, stats.retention.refused, stats.retention.late) == (before, 1, 0)
    assert "1 event refused here" in str(stats)


def test_without_a_horizon_nothing_is_late(make_trail: Callable[..., Trail]) -> None:
    """What an old data set brings into an empty trail is in: its horizon is its own."""
    trail = make_trail(retention="7d")
    old = NOW - 3650 * DAY
    trail.extend([{"action": f"a{n}", "ts": old + n * DAY} for n in range(30)]).wait()
    assert shown(trail) == [f"a{n}" for n in range(22, 30)]
    trail.append(action="within", ts=old + 23 * DAY).wait()
    with pytest.raises(LateEventError):
        trail.append(action="late", ts=old + 20 * DAY)


FORMS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "rows": lambda rows: rows,
    "iterator": iter,
    "frame": lambda rows: pl.DataFrame(rows, infer_schema_length=None),
    "arrow": lambda rows: pl.DataFrame(rows, infer_schema_length=None).to_arrow(),
    "lazy": lambda rows: pl.LazyFrame(rows, infer_schema_length=None),
}


@pytest.mark.parametrize("form", FORMS)
def test_extend_takes_nothing_or_keeps_the_late_as_letters(ruled: Trail, form: str) -> None:
    """`raise` names the first bad row, late or otherwise, and takes nothing; dead letters hold each late row whole."""
    late = {"action": "doc.read", "ts": NOW - 91 * DAY, "actor": "ann", "value": 1.5, "attrs": '{"n":1}'}
    good = {"action": "doc.read", "ts": NOW - 89 * DAY, "actor": None, "value": None, "attrs": None}
    bad = {"action": "", "ts": NOW, "actor": None, "value": None, "attrs": None}
    for rows, first in (([good, late, bad], 1), ([good, bad, late], 1), ([good, good, late], 2)):
        with pytest.raises(InvalidEventError) as caught:
            ruled.extend(FORMS[form](rows))
        assert caught.value.position == first
        assert isinstance(caught.value, LateEventError) is (rows[first] is late)
    assert shown(ruled) == ["now"]
    assert not list(read_letters(ruled.handle.layout))
    receipt = ruled.extend(FORMS[form]([good, bad, late, good, late]), on_invalid="dead-letter")
    receipt.wait()
    assert (receipt.count, shown(ruled)) == (2, ["now", "doc.read", "doc.read"])
    letters = list(read_letters(ruled.handle.layout))
    assert [(letter.line, letter.late, letter.field) for letter in letters] == [
        (2, False, "action"),
        (3, True, "ts"),
        (5, True, "ts"),
    ]
    assert json.loads(letters[1].input) == {**late, "ts": str(late["ts"])}
    stats = ruled.stats()
    assert (stats.dead_letters, stats.retention.late) == (3, 2)
    assert open_trail(ruled.path).stats().retention.late == 2, "the count is in the files"
    assert "2 dead letters" in str(stats)


def test_bulk_is_judged_like_single_events(ruled: Trail) -> None:
    """A table that goes straight into segments loses its late rows, and no other, to dead letters."""
    n = 180_000
    step = 20 * DAY // n
    ts = pl.datetime_range(
        NOW - 100 * DAY, NOW - 100 * DAY + n * step, step, time_unit="us", closed="right", eager=True
    )
    table = pl.DataFrame({"ts": ts, "action": ["doc.read", "auth.login", "doc.read"] * (n // 3)})
    late = (table["ts"] < NOW - 90 * DAY) & (table["action"] == "doc.read")
    with pytest.raises(LateEventError) as caught:
        ruled.extend(table)
    assert caught.value.position == 0
    ruled.extend(table.filter(~late), on_invalid="dead-letter").wait()
    assert ruled.stats().segments.rows == 1 + n - int(late.sum()) + 1  # with the horizon's event
    assert not ruled.stats().dead_letters
    few = table.filter(late).head(100)
    ruled.extend(pl.concat([few, table.filter(~late)]), on_invalid="dead-letter").wait()
    assert ruled.stats().retention.late == 100
    assert len(shown(ruled)) == 1 + 2 * (n - int(late.sum()))


def test_a_hold_and_a_longer_policy_let_it_in(ruled: Trail) -> None:
    """What a hold covers is not late; letters become events once one covers them, or the policy keeps them for longer."""
    rows = [{"action": "doc.read", "actor": actor, "ts": NOW - 100 * DAY} for actor in ("ann", "bob")]
    ruled.extend(rows, on_invalid="dead-letter").wait()
    assert retry_letters(ruled.handle, as_given).events == 0
    ruled.hold("case", "-120d", where={"actor": "ann"}, reason="a lawsuit")
    ruled.append(action="doc.print", actor="ann", ts=NOW - 110 * DAY).wait()
    with pytest.raises(LateEventError):
        ruled.append(action="doc.print", actor="bob", ts=NOW - 110 * DAY)
    summary = retry_letters(ruled.handle, as_given)
    assert (summary.events, [(dead.field, "rule * 90d" in dead.reason) for dead in summary.still_dead]) == (
        1,
        [("ts", True)],
    )
    assert ruled.range("-120d", where={"actor": "ann"}).height == 2
    ruled.set_retention({**RULES, "*": "1y"})
    assert retry_letters(ruled.handle, as_given).events == 1
    assert ruled.stats().retention.late == 0
    assert sorted(shown(ruled)) == ["doc.print", "doc.read", "doc.read", "now"]


def test_a_policy_is_heard_of(ruled: Trail, clock: ManualClock) -> None:
    """Of one's own at once, of another process's once it is flushed and a moment has passed; a reopened trail knows it."""
    other = open_trail(ruled.path, clock=clock)
    moment = NOW - 50 * DAY
    other.append(action="kept", ts=moment).wait()
    ruled.set_retention("30d", confirm=True)
    with pytest.raises(LateEventError):
        ruled.append(action="doc.read", ts=moment)
    with open_trail(ruled.path, clock=clock) as third, pytest.raises(LateEventError):
        third.append(action="doc.read", ts=moment)
    other.append(action="unheard", ts=moment).wait()
    ruled.flush()
    clock.us += LOOK_EVERY_US
    with pytest.raises(LateEventError):
        other.append(action="doc.read", ts=moment)
    other.close()


def test_the_trails_own_events_are_never_late(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """A clock that goes back by years stops no decision of the trail, and says of each event what is wrong."""
    trail = make_trail(retention="7d")
    trail.append(action="now").wait()
    trust(trail, NOW)
    trail.flush()
    clock.advance(days=-3650)
    with pytest.raises(LateEventError):
        trail.append(action="then")
    trail.hold("case", reason="a lawsuit")
    trail.append(action="then").wait()
    assert shown(trail) == ["now", "then"]


def test_services_go_on_and_count(ruled: Trail) -> None:
    """A decorated call, and a logger, go on where their event is late, and count it as not recorded."""

    @ak.audited(ruled, action="job.run", on_error="continue", ts=NOW - 100 * DAY)
    def job() -> str:
        return "done"

    with pytest.warns(RuntimeWarning, match="expired on arrival"):
        assert job() == "done"
    handler = AuditHandler(ruled)
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # noqa: ARG005
    handler.emit(
        logging.makeLogRecord({"msg": "old", "levelno": 20, "created": (NOW - 100 * DAY).timestamp()})
    )
    handler.emit(logging.makeLogRecord({"msg": "new", "levelno": 20, "created": NOW.timestamp()}))
    handler.close()
    assert (ruled.stats().unrecorded, shown(ruled)) == (2, ["now", "new"])


def test_an_import_keeps_dead_letters_and_goes_on(ruled: Trail) -> None:
    """A log whose beginning is too old, however long that is, is imported from where it is not; the rest can be retried."""
    moments = [NOW - 200 * DAY + n * DAY for n in range(200)]
    lines = "".join(f'{{"ts": "{moment.isoformat()}", "action": "doc.read"}}\n' for moment in moments)
    with open_input(io.BytesIO(lines.encode()), "jsonl") as source:
        summary = import_records(ruled, source, plan_mapping(), chunk_records=50)
    assert (summary.events, summary.dead_letters) == (90, 110)
    assert all(refusal.field == "ts" and refusal.hint is None for refusal in summary.refusals)
    assert len(shown(ruled)) == 91
    assert ruled.stats().retention.late == 110


@settings(max_examples=40)
@given(st.data())
def test_what_is_accepted_is_shown_and_what_is_refused_is_not(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Against the horizon as it is, an event is accepted just if a question would show it at once."""
    clock = ManualClock()
    keeps = st.sampled_from(["3d", "1mo", "90d", "2y", None])
    policy = {"a.*": data.draw(keeps), "b": data.draw(keeps), "*": data.draw(keeps)}
    trail = create(tmp_path_factory.mktemp("late") / "audit", retention=policy, clock=clock, maintain=False)
    trail.append(action="now", ts=NOW).wait()
    trust(trail, NOW - data.draw(st.integers(0, 200)) * DAY)
    if data.draw(st.booleans()):
        trail.hold("h", "-1y", "-20d", where={"outcome": "failure"}, reason="r")
    for number in range(data.draw(st.integers(1, 8))):
        event: dict[str, Any] = {
            "action": data.draw(st.sampled_from(["a.x", "b", "c"])),
            "ts": NOW - data.draw(st.integers(0, 800 * 24)) * timedelta(hours=1),
            "outcome": data.draw(st.sampled_from(["failure", None])),
            "actor": str(number),
        }
        horizon = trail.retention.horizon
        try:
            trail.append(**event).wait()
        except LateEventError:
            taken = False
            stored = pl.DataFrame([event]).with_columns(source=pl.lit(None, pl.String), seq=0, recorded=NOW)
            expiry = trail.view.snapshot().expiry
            assert stored.select(expiry.expression).item()
        else:
            taken = trail.retention.horizon == horizon
        if taken:
            assert trail.range(where={"actor": str(number)}).height == 1
    trail.close()


def test_nothing_is_looked_up_for_events_of_now(ruled: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """The common path takes no snapshot: not for an event of now, and not for one that every rule keeps."""
    ruled.append(action="a").wait()

    def refuse(*_: object) -> None:
        raise AssertionError("a snapshot was taken")

    monkeypatch.setattr(type(ruled.handle.reader), "snapshot", refuse)
    ruled.append(action="b").wait()
    ruled.append(action="auth.login", ts=NOW - 2000 * DAY).wait()
    ruled.extend({"action": "c", "ts": NOW - n * timedelta(hours=1)} for n in range(100)).wait()
    ruled.extend(pl.DataFrame({"action": ["d"], "ts": [NOW]})).wait()
