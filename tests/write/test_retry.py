"""Dead letters a second time: each becomes an event once, whatever happens in between."""

import errno
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import auditkit as ak
from auditkit import reporting
from auditkit.api import Trail
from auditkit.ask.card import trail_card
from auditkit.ask.population import population
from auditkit.cli.metrics import exposition
from auditkit.disk.durable import FileLock
from auditkit.errors import InvalidEventError, LockedError
from auditkit.queue.dead_letters import DeadLetter, read_letters, read_numbered
from auditkit.timerange import from_us
from auditkit.write import retry as retrying_letters
from auditkit.write.flush import keep_dead_letters
from auditkit.write.retry import RetrySummary, as_given, kept_letters, retry_letters
from tests.aging import trust
from tests.fakes import FailingDisk, ManualClock


def keep(trail: Trail, *inputs: object, field: str | None = None, consumer: str | None = None) -> None:
    """Keep inputs as dead letters, mappings as JSON."""
    keep_dead_letters(
        trail.handle,
        [
            DeadLetter(
                recorded_us=trail.handle.clock.now_us(),
                reason="refused",
                field=field,
                line=None,
                input=given if isinstance(given, str) else json.dumps(given),
                consumer=consumer,
                seq=None if consumer is None else 0,
            )
            for given in inputs
        ],
    )


def retry(trail: Trail, **options: Any) -> RetrySummary:
    """Retry letters as rows of `extend`."""
    return retry_letters(trail.handle, as_given, **options)


def actions(trail: Trail) -> list[str]:
    """Return the actions of the producers' events, in seq order."""
    return trail.range().sort("seq")["action"].to_list()


def waiting(trail: Trail) -> list[str]:
    """Return the names of the letters that were not retried."""
    return [kept.name for kept in kept_letters(trail.handle) if kept.retried is None]


def test_what_has_become_valid_is_appended_once(trail: Trail, clock: ManualClock) -> None:
    """An event too far ahead of its time is taken when that has come, and never again after."""
    soon = {"action": "launch", "ts": (datetime(2026, 11, 24, 8, tzinfo=UTC) + timedelta(days=3)).isoformat()}
    trail.extend([soon, {"action": ""}, {"action": "now"}], on_invalid="dead-letter").wait()
    assert retry(trail).events == 0
    clock.advance(days=4)
    files = {path: path.read_bytes() for path in (trail.path / "dead-letters").glob("*.jsonl")}
    summary = retry(trail)
    assert (summary.events, summary.first_seq, summary.duplicates, summary.consumers) == (1, 1, 0, 0)
    (dead,) = summary.still_dead
    assert (dead.name, dead.field) == ("2026-11-24:2", "action")
    for again in (trail, ak.open(trail.path)):
        assert retry(again).events == 0
    assert actions(trail) == ["now", "launch"]
    assert waiting(trail) == ["2026-11-24:2"]
    assert {path: path.read_bytes() for path in files} == files
    own = trail.tail(1).to_dicts()[0]
    assert (own["source"], own["action"]) == ("auditkit", "dead-letters.retried")
    assert json.loads(own["attrs"]) == {"letters": ["2026-11-24:1"]}
    assert [kept.retried for kept in kept_letters(trail.handle)] == [own["seq"], None]


def test_an_event_without_a_ts_happened_when_it_was_given(trail: Trail, clock: ManualClock) -> None:
    """A missing ts means the moment of the letter, as it did in `extend`; one refused for its ts gets none."""
    keep(trail, {"action": "a", "deep": {"n": 1}})
    keep(trail, {"action": "b"}, field="ts")
    clock.advance(hours=5)
    summary = retry(trail)
    assert (summary.events, [dead.field for dead in summary.still_dead]) == (1, ["ts"])
    event = trail.range().to_dicts()[0]
    assert event["ts"] == datetime(2026, 11, 24, 8, tzinfo=UTC)
    assert event["recorded"] == datetime(2026, 11, 24, 13, tzinfo=UTC)
    assert event["attrs"] == '{"deep":{"n":1}}'


NO_EVENTS: list[object] = [
    "", "no JSON {", "[1, 2]", '"text"', "null", '{"action": "a"', "[" * 100_000, '{"actor": "\ud800"}',
    {}, {"action": None}, {"action": "a", "seq": 5}, {"action": "a", "source": "auditkit"}, {"action": 7},
]  # fmt: skip


@pytest.mark.parametrize("given", NO_EVENTS, ids=range(len(NO_EVENTS)))
def test_what_is_no_event_stays_dead(trail: Trail, given: object) -> None:
    """An input that cannot be read, or is no event still, waits on with its reason."""
    keep(trail, given, {"action": "fine"})
    summary = retry(trail)
    assert (summary.events, [dead.name for dead in summary.still_dead]) == (1, ["2026-11-24:1"])
    assert summary.still_dead[0].reason
    assert waiting(trail) == ["2026-11-24:1"]


def test_letters_can_be_named(trail: Trail) -> None:
    """Only the letters that are named are tried, and a name that none has is refused before anything is written."""
    keep(trail, *({"action": f"a{n}"} for n in range(4)))
    with pytest.raises(ValueError, match=r"there is none of this name \(found '2026-11-24:9'\)"):
        retry(trail, names=["2026-11-24:1", "2026-11-24:9"])
    assert trail.end_seq == 0
    assert retry(trail, names=["2026-11-24:4", "2026-11-24:2"]).events == 2
    assert retry(trail, names=["2026-11-24:2"]).events == 0
    assert actions(trail) == ["a1", "a3"]
    assert waiting(trail) == ["2026-11-24:1", "2026-11-24:3"]


def test_trying_out_writes_nothing(trail: Trail) -> None:
    """A dry run says what would happen and changes no file."""
    keep(trail, {"action": "a"}, {"action": ""})
    before = sorted(trail.path.rglob("*"))
    summary = retry(ak.open(trail.path), dry_run=True)
    assert (summary.events, len(summary.still_dead), summary.first_seq) == (1, 1, None)
    assert (sorted(trail.path.rglob("*")), trail.end_seq) == (before, 0)


def test_events_that_a_consumer_gave_up_on_are_left_alone(trail: Trail) -> None:
    """They are in the trail already."""
    trail.append(action="a").wait()
    with trail.follow("mailer", max_deliver=1, retry_s=0, timeout_s=0) as follower:
        next(follower)
        assert list(follower) == []
    assert len(list(read_letters(trail.handle.layout))) == 1
    summary = retry(trail)
    assert (summary.events, summary.still_dead, summary.consumers) == (0, (), 1)
    assert trail.end_seq == 1


def test_names_hold_beside_torn_lines(trail: Trail) -> None:
    """A letter's name is its physical line; one that a dead writer left unfinished never had a name."""
    keep(trail, {"action": "a"})
    path = trail.path / "dead-letters" / "2026-11-24.jsonl"
    with path.open("ab") as file:
        file.write(b'{"recorded_us": 17, "reas')
    assert [name for name, _ in read_numbered(trail.handle.layout)] == ["2026-11-24:1"]
    keep(trail, {"action": "b"})
    assert [name for name, _ in read_numbered(trail.handle.layout)] == ["2026-11-24:1", "2026-11-24:2"]
    assert retry(trail).events == 2


def test_events_with_a_key(trail: Trail) -> None:
    """A repeat counts as done and is not stored again; a key that another event has keeps its letter waiting."""
    trail.append(action="a", id="1", ts="2026-11-24T07:00:00Z").wait()
    keep(
        trail,
        {"action": "x"},
        {"action": "other", "id": "1", "ts": "2026-11-24T07:00:00Z"},
        {"action": "a", "id": "1", "ts": "2026-11-24T07:00:00Z"},
        {"action": "y"},
    )
    summary = retry(trail)
    assert (summary.events, summary.duplicates) == (3, 1)
    assert [(dead.name, dead.field) for dead in summary.still_dead] == [("2026-11-24:2", "id")]
    assert actions(trail) == ["a", "x", "y"]
    assert waiting(trail) == ["2026-11-24:2"]
    assert retry(trail).events == 0
    trail.extend(
        [{"action": "z", "id": "1", "ts": "2026-11-24T07:30:00Z"}], on_invalid="dead-letter"
    ).wait()  # what `extend` keeps of an event whose key is taken can be read again
    assert [dead.field for dead in retry(trail).still_dead] == ["id", "id"]


def test_many_letters_in_batches(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of letters make one record each, and the seqs are those of one order."""
    monkeypatch.setattr(retrying_letters, "BATCH_LETTERS", 3)
    keep(trail, *({"action": f"a{n}" if n % 4 else ""} for n in range(10)))
    summary = retry(trail)
    assert (summary.events, summary.first_seq, len(summary.still_dead)) == (7, 0, 3)
    assert actions(trail) == [f"a{n}" for n in range(10) if n % 4]
    assert trail.end_seq == 7 + 4
    assert len(waiting(trail)) == 3


def test_a_failure_in_between_repeats_nothing(make_trail: Callable[..., Trail]) -> None:
    """An event and the record of its letter are durable together or not at all."""
    disk = FailingDisk()
    trail = make_trail(disk=disk)
    trail.append(action="first").wait()
    keep(trail, {"action": "a"}, {"action": "b"})
    disk.fail["sync_data"] = OSError(errno.EIO, "injected")
    with pytest.raises(OSError, match="injected"):
        retry(trail)
    disk.fail.clear()
    retry(trail)
    retry(trail)
    assert actions(trail) == ["first", "a", "b"]
    with ak.open(trail.path) as again:
        retry(again)
        assert actions(again) == ["first", "a", "b"]


KILLED = """
import os, sys
import auditkit as ak
from auditkit.disk.durable import PosixDisk
from auditkit.write import retry
retry.BATCH_LETTERS = 2
class Dying(PosixDisk):
    left = int(sys.argv[2])
    def _tick(self):
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), 9)
    def write(self, fd, data, offset):
        self._tick()
        super().write(fd, data, offset)
    def sync_data(self, fd):
        self._tick()
        super().sync_data(fd)
with ak.open(sys.argv[1], disk=Dying(), maintain=False) as trail:
    retry.retry_letters(trail.handle, retry.as_given)
"""


def test_a_death_at_any_write_repeats_and_loses_nothing(trail: Trail) -> None:
    """Killed at its n-th write or sync, over and over, a retry ends with every letter an event, once."""
    keep(trail, *({"action": f"a{n}"} for n in range(9)))
    codes = []
    for point in range(1, 12):
        done = subprocess.run([sys.executable, "-c", KILLED, str(trail.path), str(point)], check=False)
        codes.append(done.returncode)
        if done.returncode == 0:
            break
    assert set(codes[:-1]) == {-9}
    assert codes[-1] == 0
    assert sorted(actions(trail)) == [f"a{n}" for n in range(9)]
    assert waiting(trail) == []


def test_one_retry_at_a_time(trail: Trail) -> None:
    """While one retry is at work another is refused; what was tried out needs no lock."""
    keep(trail, {"action": "a"}, {"action": ""})
    retry(trail)
    lock = FileLock(trail.handle.disk, trail.handle.layout.retry_lock)
    assert lock.try_acquire()
    with pytest.raises(LockedError, match="another process retries or drops them"):
        retry(trail)
    assert retry(trail, dry_run=True).events == 0
    lock.close()
    retry(trail)


def test_records_survive_flush_prune_and_backup(
    make_trail: Callable[..., Trail], clock: ManualClock, tmp_path: Path
) -> None:
    """What was retried is known for as long as the letters are, and in a copy too."""
    trail = make_trail(retention="10d")
    keep(trail, {"action": "a"})
    retry(trail)
    trail.flush()
    clock.advance(days=30)
    assert trail.prune(now=from_us(clock.us)).events == 1
    assert retry(trail).events == 0
    ak.backup(trail, tmp_path / "copy")
    with ak.open(tmp_path / "copy") as copy:
        assert retry(copy).events == 0


def test_revive_may_say_no(trail: Trail) -> None:
    """What makes events of letters decides about each by itself."""
    keep(trail, {"time": 5}, {"time": None})

    def revive(letter: DeadLetter) -> dict[str, Any]:
        if "null" in letter.input:
            raise InvalidEventError("ts", None, "missing")
        return {"action": "mapped", "attrs": letter.input}

    summary = retry_letters(trail.handle, revive)
    assert (summary.events, summary.still_dead[0].reason) == (1, "missing")
    assert trail.range()["attrs"].to_list() == ['{"time": 5}']


def damage(trail: Trail, old: bytes, new: bytes) -> None:
    """Change bytes in the file of letters."""
    (path,) = (trail.path / "dead-letters").glob("*.jsonl")
    path.write_bytes(path.read_bytes().replace(old, new))


def test_a_damaged_letter_is_named_and_counted(trail: Trail) -> None:
    """It is listed with file, line and offset, stays dead in a retry, and does not keep others from it."""
    keep(trail, {"action": "a"}, {"action": "b"}, {"action": "c"})
    damage(trail, b"b", b"x")
    assert trail.stats().dead_letters == 3
    reason = [kept.letter.reason for kept in kept_letters(trail.handle)][1]
    assert reason.startswith("damaged: 2026-11-24.jsonl, line 2, offset")
    summary = retry(trail)
    assert (summary.events, [dead.name for dead in summary.still_dead]) == (2, ["2026-11-24:2"])
    assert summary.still_dead[0].reason == reason
    assert actions(trail) == ["a", "c"]
    assert trail.stats().dead_letters == 1
    assert list(reporting.dead_letters(trail)["reason"])[1] == reason


def test_there_is_one_count_of_dead_letters(trail: Trail, clock: ManualClock) -> None:
    """Statistics, metrics, card and population count inputs that became no event; not retried ones, not consumers' ones."""
    soon = {"action": "launch", "ts": (datetime(2026, 11, 24, 8, tzinfo=UTC) + timedelta(days=3)).isoformat()}
    trail.extend([{"action": ""}, soon, {"action": "now"}, {"actor": "\n"}], on_invalid="dead-letter").wait()
    with trail.follow("mailer", max_deliver=1, retry_s=0, timeout_s=0) as follower:
        next(follower)
        assert list(follower) == []
    (path,) = (trail.path / "dead-letters").glob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"recorded_us": 17, "reas')

    def counts() -> list[int]:
        stats = trail.stats()
        metrics = exposition(stats, trail="audit", trail_id=trail.trail_id)
        texts = [metrics, str(stats), str(trail_card(trail.view))]
        patterns = [r"auditkit_dead_letters{.*} (\d+)", *[r"dead letters +waiting +(\d+)"] * 2]
        asked = population(trail.view, None, None, where=None, tz=None)
        found = [re.search(pattern, text) for pattern, text in zip(patterns, texts, strict=True)]
        return [stats.dead_letters, asked.dead_letters, *(int(match[1]) for match in found if match)]

    assert counts() == [3] * 5
    clock.advance(days=4)
    assert retry(trail).events == 1
    assert counts() == [2] * 5


def test_letters_expire_with_the_events_of_their_day(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """A prune removes the letters of days that are wholly expired, files and all, and an own event records how many."""
    trail = make_trail(retention="10d")
    keep(trail, {"action": ""}, {"action": "password: hunter-2", "seq": 1})
    clock.advance(days=1)
    keep(trail, {"action": ""})
    clock.advance(days=9, hours=15, minutes=59)
    trust(trail, from_us(clock.us))
    assert (trail.prune().events, trail.stats().dead_letters) == (0, 3)
    clock.advance(minutes=1)
    trust(trail, from_us(clock.us))
    assert trail.stats().dead_letters == 3
    assert trail.prune().events == 0
    assert [kept.name for kept in kept_letters(trail.handle)] == ["2026-11-25:1"]
    assert [path.name for path in (trail.path / "dead-letters").glob("*.jsonl")] == ["2026-11-25.jsonl"]
    own = trail.tail(1).to_dicts()[0]
    assert (own["source"], own["action"]) == ("auditkit", "dead-letters.expired")
    assert json.loads(own["attrs"])["letters"] == 2
    end = trail.end_seq
    trail.prune()
    assert trail.end_seq == end


def test_letters_expire_without_being_asked(make_trail: Callable[..., Trail], clock: ManualClock) -> None:
    """Maintenance that enforces retention removes them too, whether or not events go with them."""
    trail = make_trail(retention="10d", maintain=True)
    trail.append(action="old").wait()
    trail.maintain()
    keep(trail, {"action": ""})
    for day in range(1, 12):
        clock.advance(days=1)
        trail.append(action="daily").wait()
        keep(trail, {"action": f"{day}", "seq": 1})
        trail.maintain()
    assert [kept.name[:10] for kept in kept_letters(trail.handle)] == [
        f"2026-11-{day}" for day in range(25, 31)
    ] + [f"2026-12-0{day}" for day in range(1, 6)]
    quiet = make_trail("quiet", retention="10d")
    keep(quiet, {"action": ""})
    quiet.append(action="a").wait()
    quiet.maintain()
    for _ in range(4):
        clock.advance(days=4)
        quiet.append(action="a", ts=from_us(clock.us)).wait()
        quiet.maintain()
    assert list(kept_letters(quiet.handle)) == []


def test_letters_of_a_trail_without_retention_stay(trail: Trail, clock: ManualClock) -> None:
    """What is kept for ever keeps its letters for ever."""
    keep(trail, {"action": ""})
    clock.advance(days=10_000)
    trail.append(action="a").wait()
    trail.prune()
    assert trail.stats().dead_letters == 1
