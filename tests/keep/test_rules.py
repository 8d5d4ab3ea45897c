"""Rules and holds: each event is kept exactly as long as the first rule that matches says, or a hold."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from msgspec.structs import replace

import auditkit as ak
from auditkit.api import Trail
from auditkit.ask.population import population
from auditkit.errors import HoldError, InvalidArgumentError, InvalidQueryError, PrunedError
from auditkit.keep.compact import compact
from auditkit.timerange import from_us, to_us
from auditkit.trail.summaries import PruneWaits
from tests.aging import accept_late, trust
from tests.fakes import ManualClock
from tests.oracle import read_trail

NOW = datetime.fromisoformat("2026-11-24T08:00:00+00:00")
DAY_US = 86_400_000_000
ACTIONS = ("auth.login", "auth.fail", "debug.trace", "doc.read", "*odd")
OUTCOMES = (None, "success", "failure")
SOURCES = (None, "web", "batch")
Rules = list[tuple[dict[str, Any], str | None]]
POLICIES: dict[str, Rules] = {
    "by action": [({"action": "auth.*"}, "40d"), ({"action": "debug.*"}, "3d"), ({"action": "*"}, "10d")],
    "by outcome and source": [
        ({"outcome": "failure", "source": ["web", None]}, "30d"),
        ({"outcome": None}, "5d"),
        ({"source": "*"}, "8d"),
    ],
    "for ever in between": [({"action": "doc.*"}, None), ({"action": "*"}, "6d")],
    "a star": [({"action": r"\*odd"}, "2d")],
    "the trail's own": [({"source": "auditkit"}, "1d"), ({"action": "*"}, "12d")],
}
HOLDS: list[dict[str, Any]] = [
    {"name": "case-1", "where": {"actor": "ann", "attrs.n": 3}, "reason": "one"},
    {"name": "case-2", "start": NOW - timedelta(days=20), "end": NOW - timedelta(days=15), "reason": "two"},
]


def events(count: int, seed: int) -> list[dict[str, Any]]:
    """Return random events of the last fifty days."""
    chance = random.Random(seed)
    return [
        {
            "ts": NOW - timedelta(seconds=chance.randrange(50 * 86_400)),
            "action": chance.choice(ACTIONS),
            "outcome": chance.choice(OUTCOMES),
            "source": chance.choice(SOURCES),
            "actor": chance.choice(("ann", "bob")),
            "attrs": {"n": chance.randrange(5)},
        }
        for _ in range(count)
    ]


def matches(value: object, asked: object) -> bool:
    """Say whether a value is what a condition asks for, as plainly as possible."""
    if isinstance(asked, list):
        return value in asked
    if isinstance(asked, str) and asked.startswith("\\"):
        return value == asked[1:]
    return fnmatchcase(value, asked) if isinstance(asked, str) and isinstance(value, str) else value is asked


def kept(
    event: dict[str, Any], rules: Rules, holds: list[dict[str, Any]] = HOLDS, now: datetime = NOW
) -> bool:
    """Say whether an event is kept, from the rules alone."""
    for hold in holds:
        inside = hold.get("start", event["ts"]) <= event["ts"] < hold.get("end", NOW + timedelta(days=1))
        where = hold.get("where", {})
        is_actor = event["actor"] == where.get("actor", event["actor"])
        if inside and is_actor and event["attrs"]["n"] == where.get("attrs.n", event["attrs"]["n"]):
            return True
    for where, keep in rules:
        if all(matches(event[column], asked) for column, asked in where.items()):
            return keep is None or event["ts"] >= now - timedelta(days=int(keep[:-1]))
    return True


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_shown_and_what_stays_is_what_the_rules_say(
    make_trail: Callable[..., Trail], name: str
) -> None:
    """Every question shows what plain rules keep, flushed or not, and a prune leaves that and the trail's own events."""
    given, rules = events(120, len(name)), POLICIES[name]
    trail = make_trail(retention=rules, maintain=False, partition="1d" if name == "by action" else "1mo")
    trail.extend(given[:90]).wait()
    trail.flush()
    for hold in HOLDS:
        trail.hold(**hold)
    accept_late(trail)
    trail.extend(given[90:]).wait()
    trust(trail, NOW)
    expected = [seq for seq, event in seqs_of(trail, given) if kept(event, rules)]
    for _ in range(2):
        assert sorted(trail.range()["seq"]) == expected
        assert sorted(trail.scan().collect()["seq"]) == expected
        assert trail.group_by([], aggs="count").item() == len(expected)
        found = population(trail.view, None, None, where=None, tz=None)
        assert (found.shown, found.expired) == (len(expected), len(given) - len(expected))
        trail.flush()
    snapshot = trail.view.snapshot()
    for row in snapshot.catalog.segments:  # also where a segment has too many combinations for the catalog
        part = snapshot.expiry.of(row)
        vague = replace(row, combinations=None)
        assert snapshot.expiry.of(vague) in (part, "some")
        assert snapshot.expiry.columns(vague) >= snapshot.expiry.columns(row)
    plan = trail.plan_prune()
    assert plan.rows == sum(rule.events for rule in plan.rules) == len(given) - len(expected)
    assert (
        sum(held.events for held in plan.held)
        >= sum(kept(event, rules) and not kept(event, rules, []) for event in given)
        > 0
    )
    done = trail.prune(plan)
    assert done.events == plan.rows
    stored = read_trail(trail.path)
    assert sorted(seq for seq, event in stored.events.items() if event["source"] != "auditkit") == expected
    assert trail.plan_prune().rows == 0
    assert sorted(trail.range()["seq"]) == expected
    assert {row["rule"] for row in stored.catalog["tombstones"]} == {r.rule for r in plan.rules if r.events}


def seqs_of(trail: Trail, given: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Return events with the seqs they got, between which the trail's own lie."""
    free = [seq for seq in range(trail.end_seq) if seq not in own_seqs(trail)]
    return list(zip(free, given, strict=True))


def own_seqs(trail: Trail) -> set[int]:
    """Return the seqs of the trail's own events."""
    stored = read_trail(trail.path).events
    return {seq for seq, event in stored.items() if event["source"] == "auditkit"}


def test_own_events_expire_by_a_rule_that_names_their_source(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """`"*"` does not name the trail's own events; a rule with their source does, and its tombstones count them."""
    for name, rules, left in (
        ("all", {"*": "1d"}, 3),
        ("own", [({"source": "auditkit"}, "1d"), ({"action": "*"}, "1d")], 1),
    ):
        trail = make_trail(name, retention=rules, maintain=False)
        trail.append(action="a").wait()
        trail.hold("h", reason="r")
        trail.release("h", reason="r")
        trail.flush()
        clock.advance(days=3)
        done = trail.prune(now=from_us(clock.us))
        assert done.events == (1 if name == "all" else 3)
        own = trail.range(own=True)["action"].to_list()
        assert own[-2:] == ["retention.now", "retention.pruned"]
        assert len(own) == left + 1
        assert read_trail(trail.path).pruned == done.events
        assert ak.open(trail.path).retention.holds == ()


def test_a_partition_is_written_anew_once_for_each_rule(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """Night by night a segment is written anew when a rule has passed all of it, and never for the days in between."""
    rules = {"auth.*": "20d", "debug.*": "2d", "*": "5d"}
    trail = make_trail(retention=rules, maintain=False)
    rewritten, removed, written = 0, 0, 0
    actions = ("auth.login", "debug.trace", "doc.read")
    nights = 25
    for _ in range(nights):
        clock.advance(hours=24)
        batch = [{"action": actions[n % 3], "ts": from_us(clock.us - n * 60_000_000 * 23)} for n in range(60)]
        trail.extend(batch).wait()
        done = trail.maintain()
        written += 60
        if done.prune is not None:
            rewritten += done.prune.rewritten
            removed += done.prune.events
    assert removed > written / 2
    days = len({row["partition"] for row in read_trail(trail.path).catalog["tombstones"]})
    assert rewritten <= 2 * days + 2
    stats = trail.stats()
    assert stats.retention.prunable == 0 or isinstance(stats.retention.waiting[0], PruneWaits)


def test_a_hold_keeps_until_it_is_released(make_trail: Callable[..., Trail], tmp_path: Path) -> None:
    """What a hold matches stays through prune, compaction and backup, is shown, and goes once it is released."""
    trail = make_trail(retention="10d", maintain=False, fields={"amount": pl.Float64})
    for part in range(3):
        trail.extend(
            {
                "action": "a",
                "ts": NOW - timedelta(days=20, hours=n),
                "actor": "ann" if n % 2 else "bob",
                "amount": n / 2,
            }
            for n in range(part, 12, 3)
        ).wait()
        trail.flush()
    where = {"actor": "ann", "amount": [0.5, 1.5, 2.5]}
    placed = trail.hold("case-42", "-60d", "2026-11-10", where=where, reason="a \x1b[2Jlawsuit")
    assert "\x1b" not in str(placed)
    trail.prune(now=NOW)
    assert trail.range()["amount"].sort().to_list() == [0.5, 1.5, 2.5]
    compact(trail.handle, least=2)
    trail.prune()
    ak.backup(trail, tmp_path / "copy")
    for one in (trail, ak.open(tmp_path / "copy"), ak.open(trail.path)):
        assert one.range()["amount"].sort().to_list() == [0.5, 1.5, 2.5]
        assert [hold.name for hold in one.retention.holds] == ["case-42"]
        assert [(held.hold, held.events) for held in one.plan_prune().held] == [("case-42", 3)]
        assert one.plan_prune().rows == 0
    assert "case-42" in str(trail.retention)
    before = trail.end_seq
    trail.release("case-42", reason="settled")
    assert trail.range().height == 0
    assert trail.at(before).range().height == 3
    assert trail.prune().events == 3
    with pytest.raises(PrunedError):
        trail.at(before).range()
    assert not [e for e in read_trail(trail.path).events.values() if e["source"] != "auditkit"]


def test_a_hold_leaves_out_and_looks_for_words(make_trail: Callable[..., Trail], tmp_path: Path) -> None:
    """What a hold says with `not` and `text` it means flushed, in the queue, pruned, copied and opened again."""
    trail = make_trail(retention="10d", maintain=False)
    given: list[dict[str, Any]] = [
        {"actor": "ann", "resource": "invoice/17"},
        {"actor": "bob", "resource": "invoice/17"},
        {"actor": None, "attrs": {"Invoice": "n\xe9 17"}},
        {"actor": "ann", "attrs": {"invoice": 18}},
        {"actor": "cron7", "attrs": '{"invoice": "\\u0031\\u0037"}'},
    ]
    trail.extend({"action": "a", "ts": NOW - timedelta(days=20), **event} for event in given).wait()
    where = {"actor": {"not": ("bob", "cron*")}, "text": "INVOICE 17"}
    placed = trail.hold("case", where=where, reason="r")
    assert 'actor is neither "bob" nor like "cron*" and text has the words "INVOICE 17"' in str(placed)
    trust(trail, NOW)
    for _ in range(2):
        assert trail.range()["seq"].to_list() == [0, 2]
        assert trail.range(where={"actor": {"not": "ann"}})["seq"].to_list() == [2]
        assert trail.range(where={"text": "invoice"}, columns="actor")["actor"].to_list() == ["ann", None]
        trail.flush()
    assert [(held.hold, held.events) for held in trail.plan_prune().held] == [("case", 2)]
    trail.prune()
    ak.backup(trail, tmp_path / "copy")
    assert ak.open(tmp_path / "copy").range()["seq"].to_list() == [0, 2]


def test_holds_that_cannot_be(trail: Trail) -> None:
    """Names are taken once, and released only where they are in force; conditions can be kept, and a reason is given."""
    trail.hold("case-42", reason="r")
    with pytest.raises(HoldError, match="there is one of this name already"):
        trail.hold("case-42", reason="r")
    with pytest.raises(HoldError, match=r"no such hold is in force; did you mean 'case-42'\?"):
        trail.release("case-43", reason="r")
    for reason in ("", " ", 7, "x" * 20_000):
        with pytest.raises(InvalidArgumentError, match="reason"):
            trail.hold("other", reason=reason)  # type: ignore[arg-type]
    with pytest.raises(InvalidQueryError, match="actr"):
        trail.hold("other", where={"actr": "ann"}, reason="r")
    with pytest.raises(InvalidQueryError, match="mapping"):
        trail.hold("other", where=pl.col("actor") == "ann", reason="r")  # type: ignore[arg-type]
    assert [hold.name for hold in trail.retention.holds] == ["case-42"]
    trail.release("case-42", reason="r")
    assert trail.hold("case-42", reason="again").reason == "again"


def test_a_shorter_policy_is_confirmed(make_trail: Callable[..., Trail]) -> None:
    """What keeps events of the trail for less time says what it would remove, and is decided only once it is confirmed."""
    trail = make_trail(retention={"auth.*": "60d", "*": "30d"}, maintain=False)
    assert str(trail.set_retention("20d")) == "keep 20d"  # there is nothing that it would keep for less time
    trail.set_retention({"auth.*": "60d", "*": "30d"})
    trail.extend(
        [
            {"action": action, "ts": NOW - timedelta(days=back)}
            for action in ("auth.x", "b")
            for back in (25, 5)
        ]
    ).wait()
    trust(trail, NOW)
    for flushes in range(2):
        with pytest.raises(InvalidArgumentError, match="1 event that is shown now expires by it") as caught:
            trail.set_retention({"auth.*": "60d", "*": "10d"})
        assert "confirm=True" in caught.value.__notes__[0]
        with pytest.raises(InvalidArgumentError, match="0 events that are shown now expire by it"):
            trail.set_retention({"auth.*": "60d", "*": "29d"})
        trail.set_retention({"other.*": "1d", "auth.*": "7y", "*": "30d"})
        trail.set_retention({"auth.*": "60d", "*": "30d"}, confirm=True)
        if not flushes:
            trail.flush()
    trail.set_retention({"auth.*": "60d", "*": "10d"}, confirm=True)
    assert trail.range().height == 3
    trail.set_retention(None)
    assert trail.range().height == 4


@pytest.mark.parametrize(
    "retention",
    [
        {"auth.*": "0d"},
        {"auth.*": 7},
        [({"actor": "ann"}, "7d")],
        [({}, "7d")],
        7,
        [("auth.*", "7d", "8d")],
        {7: "7d"},
    ],
)
def test_rules_that_cannot_be(trail: Trail, retention: Any) -> None:
    """Rules look at action, source and outcome, and keep for a positive time; else nothing is decided."""
    with pytest.raises(InvalidArgumentError):
        trail.set_retention(retention)
    assert trail.retention.policy == "keep for ever"


def test_a_plan_of_another_time_is_refused(make_trail: Callable[..., Trail]) -> None:
    """A plan made under another policy, or counting on a hold that was released, removes nothing."""
    trail = make_trail(retention="10d", maintain=False)
    trail.extend([{"action": "a", "ts": NOW - timedelta(days=back)} for back in (30, 20)]).wait()
    trail.hold("case", "2026-11-01", "2026-11-10", reason="r")
    trust(trail, NOW)
    trail.flush()
    plan = trail.plan_prune()
    assert (plan.rows, [held.events for held in plan.held]) == (1, [1])
    trail.release("case", reason="r")
    with pytest.raises(InvalidArgumentError, match="the hold case, which was released since"):
        trail.prune(plan)
    trail.set_retention("9d", confirm=True)
    with pytest.raises(InvalidArgumentError, match="made when the policy was to keep 10d"):
        trail.prune(plan)
    assert trail.stats().retention.pruned == 0
    assert trail.prune().events == 2


def test_a_view_of_the_past_goes_by_the_rule_of_what_was_pruned(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """A view whose rule had expired by then what a later prune removed answers as it did; another one raises."""
    trail = make_trail(retention={"debug.*": "3d", "*": "30d"}, maintain=False)
    trail.extend(
        [{"action": action, "ts": NOW - timedelta(days=9)} for action in ("debug.x", "doc.read")]
    ).wait()
    trust(trail, NOW)
    trail.flush()
    then = trail.at(trail.end_seq)
    assert then.range()["action"].to_list() == ["doc.read"]
    assert trail.prune().events == 1
    assert then.range()["action"].to_list() == ["doc.read"]
    clock.advance(days=25)
    trail.prune(now=from_us(clock.us))
    with pytest.raises(PrunedError, match="keep debug"):
        then.range()


def test_a_hold_that_a_forged_event_places_does_not_read(trail: Trail) -> None:
    """The conditions of a hold are held against the schema wherever they come from."""
    trail.hold("case", where={"attrs.user": "ann"}, reason="r")
    trail.flush()
    (row,) = read_trail(trail.path).catalog["holds"]
    assert (row["name"], row["conditions"]) == ("case", '{"attrs.user":"ann"}')
    assert to_us(trail.retention.holds[0].placed) == row["placed_us"]
