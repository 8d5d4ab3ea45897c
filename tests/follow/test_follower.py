"""Following: order, waiting, remembering, giving again, giving up."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import auditkit as ak
from auditkit.api import Trail
from auditkit.errors import ClosedError, CorruptionError, LockedError, PrunedError
from auditkit.follow import follower as following
from auditkit.follow.follower import Follower
from auditkit.queue.consumers import read_positions
from auditkit.queue.dead_letters import read_letters
from auditkit.queue.frames import COMMIT_MARK, pack_frame
from tests.aging import trust
from tests.fakes import FailingDisk, ManualClock


def fill(trail: Trail, count: int, **fields: Any) -> None:
    """Append events whose value counts on from the number of events there are."""
    first = trail.end_seq
    trail.extend([{"action": "a", "value": float(first + n), **fields} for n in range(count)]).wait()


def seqs(follower: Follower) -> list[int]:
    """Take and acknowledge everything there is."""
    taken = []
    for delivery in follower:
        taken.append(delivery.seq)
        delivery.ack()
    return taken


def position(trail: Trail, name: str = "mailer") -> int:
    """Return a consumer's position as it is on disk."""
    return dict(read_positions(trail.handle.layout))[name].next_seq


def mailer(trail: Trail, **options: Any) -> Follower:
    """Follow as the consumer that all tests use, without waiting for anything."""
    return trail.follow("mailer", **{"timeout_s": 0, "retry_s": 0, **options})


def test_events_come_in_order_from_segments_and_queue(trail: Trail) -> None:
    """Seqs ascend without a gap, whatever their ts and wherever they lie, and each event is what a query shows."""
    moments = [datetime(2026, 11, day, tzinfo=UTC) for day in (20, 3, 22, 1, 23)]
    for ts in moments:
        trail.append(action="a", ts=ts, attrs={"day": ts.day})
        if ts.day % 2:
            trail.flush()
    followed = [delivery.event for delivery in trail.follow(timeout_s=0)]
    assert followed == trail.range().sort("seq").to_dicts()
    assert [event["ts"] for event in followed] == moments


def test_a_plain_tail_leaves_nothing_behind(trail: Trail) -> None:
    """Without a consumer nothing is written, locked or given twice, and acknowledging means nothing."""
    fill(trail, 3)
    before = sorted(trail.path.rglob("*"))
    reader = ak.open(trail.path)
    for _ in range(2):
        assert seqs(reader.follow(timeout_s=0)) == [0, 1, 2]
        assert [delivery.attempt for delivery in reader.follow(timeout_s=0)] == [1, 1, 1]
    assert sorted(trail.path.rglob("*")) == before


def test_events_to_come_are_waited_for(trail: Trail) -> None:
    """An event that another process commits ends the wait; nothing but its commit is needed."""
    code = "import sys, auditkit as ak\nwith ak.open(sys.argv[1]) as t:\n for n in range(3): t.append(action=f'b{n}').wait()"
    fill(trail, 1)
    follower = ak.open(trail.path).follow(start=1, timeout_s=60)
    with subprocess.Popen([sys.executable, "-c", code, str(trail.path)]) as process:
        assert [next(follower).event["action"] for _ in range(3)] == ["b0", "b1", "b2"]
    assert process.returncode == 0
    assert (follower.position, follower.missed) == (4, 0)


def test_the_own_writer_need_not_be_waited_for(trail: Trail) -> None:
    """What the same object has accepted is committed before it is followed."""
    trail.append(action="a")
    assert seqs(trail.follow(timeout_s=0)) == [0]


def test_closing_from_another_thread_ends_a_wait(trail: Trail) -> None:
    """`close` wakes a waiting follower; the iteration ends without an error, also when the trail is closed."""
    for close in ("follower", "trail"):
        reader = ak.open(trail.path)
        follower = reader.follow(poll_s=60)
        ended = threading.Thread(target=lambda follower=follower: list(follower))
        ended.start()
        (follower if close == "follower" else reader).close()
        ended.join(timeout=20)
        assert not ended.is_alive()


def test_a_closed_trail_cannot_be_followed(trail: Trail) -> None:
    """After `close` following raises, and so does going on with a consumer."""
    fill(trail, 2)
    delivery = next(mailer(trail))
    trail.close()
    with pytest.raises(ClosedError):
        delivery.ack()
    with pytest.raises(ClosedError):
        trail.follow()


def test_what_was_acknowledged_never_comes_again(trail: Trail) -> None:
    """A position is durable when `ack` returns, and a new consumer begins with the first event."""
    fill(trail, 5)
    follower = mailer(trail)
    for expected in range(3):
        delivery = next(follower)
        assert (delivery.seq, delivery.attempt, delivery.settled) == (expected, 1, False)
        delivery.ack()
        delivery.ack()
        assert (delivery.settled, position(trail), follower.position) == (True, expected + 1, expected + 1)
    follower.close()
    assert seqs(mailer(trail, start=0)) == [3, 4]
    fill(trail, 1)
    assert seqs(mailer(ak.open(trail.path))) == [5]
    assert seqs(trail.follow("other", timeout_s=0)) == [0, 1, 2, 3, 4, 5]


def test_what_was_not_acknowledged_comes_again(trail: Trail) -> None:
    """Going on without `ack` gives the same event again, and so does a restart; attempts are counted across both."""
    fill(trail, 2)
    follower = mailer(trail)
    assert [(d.seq, d.attempt) for d in (next(follower), next(follower))] == [(0, 1), (0, 2)]
    follower.close()
    follower = mailer(trail)
    delivery = next(follower)
    assert (delivery.seq, delivery.attempt) == (0, 3)
    delivery.ack()
    assert [(d.seq, d.attempt) for d in (next(follower), next(follower))] == [(1, 1), (1, 2)]


def test_an_event_given_too_often_becomes_a_dead_letter(trail: Trail) -> None:
    """After `max_deliver` times the event is kept with the last reason, once, and the next one comes."""
    fill(trail, 3, actor="ann", attrs={"to": "bob"})
    seen = []
    for delivery in mailer(trail, max_deliver=3):
        seen.append((delivery.seq, delivery.attempt))
        if delivery.seq == 1:
            delivery.fail(f"mailbox full for the {delivery.attempt}. time")
        else:
            delivery.ack()
    assert seen == [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1)]
    (letter,) = read_letters(trail.handle.layout)
    assert letter.reason == "given up after 3 deliveries: mailbox full for the 3. time"
    assert (letter.consumer, letter.seq, letter.field, letter.line) == ("mailer", 1, None, None)
    assert letter.input == ""
    assert dict(read_positions(trail.handle.layout))["mailer"].given_up == 1
    assert (trail.stats().dead_letters, trail.stats().consumers[0].given_up) == (0, 1)
    assert seqs(mailer(trail)) == []


def test_a_dead_letter_of_a_consumer_names_the_event_and_repeats_nothing_of_it(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """Once an event is pruned nothing on disk holds any of it, though a consumer had given it up."""
    trail = make_trail(retention="10d")
    ts = datetime(2026, 11, 16, tzinfo=UTC)
    trail.append(action="login", ts=ts, actor="ann-7f3a", attrs={"password": "hunter-2"}).wait()
    next(mailer(trail, max_deliver=1)).fail("mailbox full")
    assert list(mailer(trail, max_deliver=1)) == []
    clock.advance(days=3)
    assert trail.prune(now=trail.now()).events == 1
    (letter,) = read_letters(trail.handle.layout)
    assert (letter.consumer, letter.seq) == ("mailer", 0)
    held = [path.read_bytes() for path in trail.path.rglob("*") if path.is_file()]
    assert not [data for data in held if b"ann-7f3a" in data or b"hunter-2" in data]


def test_a_death_between_letter_and_position_leaves_one_letter(make_trail: Callable[..., Trail]) -> None:
    """An event is given up once, even where the position could not be moved behind it at first."""
    disk = FailingDisk()
    trail = make_trail(disk=disk)
    fill(trail, 2)
    follower = mailer(trail, max_deliver=1)
    next(follower)
    disk.fail["sync_data"] = OSError("injected")
    with pytest.raises(OSError, match="injected"):
        next(follower)
    disk.fail.clear()
    follower.close()
    assert len(list(read_letters(trail.handle.layout))) == 1
    assert seqs(mailer(trail, max_deliver=1)) == [1]
    assert len(list(read_letters(trail.handle.layout))) == 1


@pytest.mark.parametrize("failing", ["sync", "sync_directory"])
def test_a_letter_that_could_not_be_synced_is_not_kept_twice(
    make_trail: Callable[..., Trail], failing: str
) -> None:
    """Where keeping a letter failed after it was written, going on finds it, and the event is given up once."""
    disk = FailingDisk()
    trail = make_trail(disk=disk)
    fill(trail, 3)
    follower = mailer(trail, max_deliver=1)
    next(follower).ack()
    assert next(follower).seq == 1
    disk.fail[failing] = OSError("injected")
    with pytest.raises(OSError, match="injected"):
        next(follower)
    disk.fail.clear()
    assert next(follower).seq == 2
    assert [letter.seq for letter in read_letters(trail.handle.layout)] == [1]
    assert follower.given_up == 1


def test_without_a_limit_an_event_comes_for_ever(trail: Trail) -> None:
    """`max_deliver=None` never gives up."""
    fill(trail, 1)
    follower = mailer(trail, max_deliver=None)
    assert [next(follower).attempt for _ in range(20)] == list(range(1, 21))


def test_a_delivery_as_context(trail: Trail) -> None:
    """The block's end acknowledges; an exception goes through, with its type noted and its message left out."""
    fill(trail, 2)
    for delivery in mailer(trail, max_deliver=1):
        with delivery as event:
            assert event["seq"] == delivery.seq
            if delivery.seq == 1:
                break
    assert position(trail) == 2
    fill(trail, 1)
    follower = mailer(trail, max_deliver=1)
    with pytest.raises(ConnectionError, match="password"), next(follower):
        raise ConnectionError("password hunter2 refused")
    assert list(follower) == []
    (letter,) = read_letters(trail.handle.layout)
    assert letter.reason == "given up after 1 delivery: ConnectionError"
    assert "hunter2" not in repr(letter)


def test_a_block_may_settle_by_itself(trail: Trail) -> None:
    """`fail` inside a block is not overruled by its end, and `ack` not by an exception behind it."""
    fill(trail, 1)
    follower = mailer(trail)
    with next(follower):
        pass
    fill(trail, 1)
    delivery = next(follower)
    with delivery:
        delivery.fail("not now")
    assert position(trail) == 1
    delivery = next(follower)
    delivery.ack()
    with pytest.raises(RuntimeError), delivery:
        raise RuntimeError
    assert position(trail) == 2


@pytest.mark.parametrize(
    "start", [2, "2026-11-24T08:02:00Z", datetime(2026, 11, 24, 8, 2, tzinfo=UTC), "-1m"]
)
@pytest.mark.parametrize("flushed", [False, True])
def test_where_to_begin(trail: Trail, clock: ManualClock, start: int | str | datetime, flushed: bool) -> None:
    """A start is a seq, or a moment of acceptance; ts does not matter."""
    for _ in range(4):
        trail.append(action="a", ts=datetime(2026, 11, 24, tzinfo=UTC)).wait()
        if flushed:
            trail.flush()
        clock.advance(minutes=1)
    clock.advance(minutes=-1)
    assert seqs(trail.follow(start=start, timeout_s=0)) == [2, 3]
    assert seqs(mailer(trail, start=start)) == [2, 3]


def test_only_what_is_to_come(trail: Trail) -> None:
    """Started at the end, what is there is left out."""
    fill(trail, 3)
    follower = mailer(trail, start=trail.end_seq)
    fill(trail, 2)
    assert seqs(follower) == [3, 4]
    assert list(trail.follow(start="+1s", timeout_s=0)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 4}, r"start: no seq of this trail \(expected 0 to 3, found 4\)"),
        ({"start": -1}, "start: no seq"),
        ({"start": True}, "start"),
        ({"start": "yesterday-ish"}, "start"),
        ({"max_deliver": 0}, "max_deliver: not a number of deliveries"),
        ({"max_deliver": 2.5}, "max_deliver"),
        ({"poll_s": 0}, "poll_s: too short"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"retry_s": -1}, "retry_s"),
        ({"where": {"actr": "ann"}}, "actr"),
        ({"consumer": "../../etc/passwd"}, "consumer: bad name"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    trail: Trail, options: dict[str, Any], message: str
) -> None:
    """Every argument is checked at the call, with its name and value in the message."""
    fill(trail, 3)
    with pytest.raises(ValueError, match=message):
        trail.follow(**options)


def test_conditions_choose_events(trail: Trail) -> None:
    """`where`, as mapping or expression, and `own` choose as they do in queries."""
    for actor in ("ann", "bob", None, "ann"):
        trail.append(action="a", actor=actor, attrs={"ip": actor}).wait()
    trail.set_retention("90d", confirm=True)
    assert seqs(trail.follow(where={"actor": "ann"}, timeout_s=0)) == [0, 3]
    assert seqs(trail.follow(where={"attrs.ip": ["bob", None]}, timeout_s=0)) == [1, 2]
    assert seqs(trail.follow(where=pl.col("actor").str.starts_with("b"), timeout_s=0)) == [1]
    assert seqs(trail.follow(timeout_s=0)) == [0, 1, 2, 3]
    assert seqs(trail.follow(own=True, timeout_s=0)) == [0, 1, 2, 3, 4]


def test_events_that_are_not_for_it_are_passed_over_durably(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer of rare events does not read the others again and again."""
    monkeypatch.setattr("auditkit.follow.follower.SAVE_AFTER", 10)
    fill(trail, 9)
    follower = mailer(trail, where={"action": "rare"})
    assert list(follower) == []
    assert position(trail) == 9
    fill(trail, 12)
    follower = trail.follow("mailer", where={"action": "rare"}, poll_s=60)
    waiting = threading.Thread(target=lambda: list(follower))
    waiting.start()
    follower.close()
    waiting.join(timeout=20)
    assert position(trail) in (9, 21)  # closed before or after it had looked
    assert seqs(mailer(trail, where={"action": "rare"})) == []
    assert position(trail) == 21


def test_pruned_and_expired_events_are_passed_over_and_counted(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """A consumer that comes too late goes on with what is left and says exactly how many it missed."""
    trail = make_trail(retention="10d")
    fill(trail, 3)
    trail.flush()
    assert [seqs(mailer(trail)), position(trail)] == [[0, 1, 2], 3]
    fill(trail, 4)
    trail.flush()
    clock.advance(days=8)
    fill(trail, 5)
    clock.advance(days=8)
    fill(trail, 2)
    assert trail.prune(now=trail.now()).events == 7
    kept = trail.end_seq - 1  # the last two are the trail's own, about the prune
    follower = mailer(trail)
    delivery = next(follower)
    assert (delivery.seq, delivery.missed, follower.missed) == (7, 4, 4)
    delivery.ack()
    clock.advance(days=3)
    fill(trail, 1)
    trust(trail, trail.now())
    follower.close()
    late = mailer(trail)
    assert [(d.seq, d.missed) for d in [next(late)]] == [(12, 4)]
    late.close()
    assert seqs(mailer(trail)) == [12, 13, kept + 1]
    assert dict(read_positions(trail.handle.layout))["mailer"].missed == 8
    assert seqs(trail.follow(timeout_s=0)) == [12, 13, kept + 1]


def test_a_trail_whose_events_are_all_gone_does_not_hang(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """Where nothing is left the iteration waits for what is to come, at the right place."""
    trail = make_trail(retention="1d")
    fill(trail, 5)
    clock.advance(days=30)
    trail.prune(now=datetime.fromtimestamp(clock.us / 1e6, UTC))
    follower = mailer(trail)
    assert list(follower) == []
    assert (follower.missed, position(trail)) == (5, trail.end_seq)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_small_chunks_change_nothing(
    make_trail: Callable[..., Trail], clock: ManualClock, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """However few events are read at once, order, gaps and counts are the same."""
    monkeypatch.setattr(following, "CHUNK_EVENTS", chunk)
    trail = make_trail(retention="10d")
    fill(trail, 6)
    trail.flush()
    clock.advance(days=8)
    fill(trail, 5)
    trail.set_retention("9d", confirm=True)
    trail.flush()
    clock.advance(days=5)
    fill(trail, 4)
    trust(trail, trail.now())
    follower = trail.follow(timeout_s=0)
    assert [(d.seq, d.missed) for d in follower] == [
        (seq, 6 * (seq == 6)) for seq in (6, 7, 8, 9, 10, 12, 13, 14, 15)
    ]
    assert follower.missed == 6


def test_a_view_of_the_past_ends(trail: Trail) -> None:
    """`at(seq)` can be read through, never waits, and remembers no consumer."""
    fill(trail, 5)
    past = trail.at(3)
    assert seqs(past.follow()) == [0, 1, 2]
    with pytest.raises(ClosedError, match="read-only"):
        past.follow("mailer")


def test_a_view_of_the_past_needs_only_what_it_gives(
    make_trail: Callable[..., Trail], clock: ManualClock
) -> None:
    """What was pruned since is missed where a view would give it, and no matter where it begins later."""
    trail = make_trail(retention="10d")
    fill(trail, 3)
    trail.flush()
    clock.advance(days=8)
    fill(trail, 4)
    clock.advance(days=3)
    fill(trail, 1)
    assert trail.prune(now=trail.now()).events == 3
    assert [delivery.seq for delivery in trail.at(7).follow(start=3)] == [3, 4, 5, 6]
    with pytest.raises(PrunedError):
        list(trail.at(7).follow(start=2))
    assert [delivery.seq for delivery in trail.at(7, allow_pruned=True).follow(start=2)] == [3, 4, 5, 6]


def test_a_name_is_followed_once(trail: Trail) -> None:
    """A second follower of a name is refused, in the same process and in another, until the first one ends."""
    fill(trail, 1)
    code = "import sys, auditkit as ak\ntry: ak.open(sys.argv[1]).follow('mailer')\nexcept ak.AuditError as e: print(type(e).__name__)"
    with mailer(trail) as follower:
        next(follower)
        with pytest.raises(LockedError, match="consumer mailer: followed already"):
            mailer(ak.open(trail.path))
        done = subprocess.run(
            [sys.executable, "-c", code, str(trail.path)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "LockedError"
        trail.follow("other", timeout_s=0).close()
    assert seqs(mailer(trail)) == [0]


def test_the_end_of_an_iteration_frees_the_name(trail: Trail) -> None:
    """A loop that ran out of events holds nothing any more, though its last delivery is still at hand."""
    fill(trail, 1)
    for delivery in mailer(trail):
        delivery.ack()
    assert seqs(mailer(trail)) == []
    assert delivery.settled


def test_a_loop_that_was_left_may_be_begun_again(trail: Trail) -> None:
    """After `break` the last event can still be acknowledged, until the name is followed anew, here as anywhere."""
    fill(trail, 3)
    for first in mailer(trail):
        assert first.seq == 0
        break
    first.ack()
    assert position(trail) == 1
    for second in mailer(trail):
        assert (second.seq, second.attempt) == (1, 1)
        break
    for third in mailer(ak.open(trail.path)):
        assert (third.seq, third.attempt) == (1, 2)
        break
    with pytest.raises(ClosedError, match="consumer is closed"):
        second.ack()
    third.ack()
    assert position(trail) == 2


def test_an_interrupted_read_loses_nothing(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while events are read ends the iteration, and the next one begins where the last was acknowledged."""
    fill(trail, 3)
    follower = mailer(trail)
    next(follower).ack()
    taken = following._EventStream.take

    def interrupted(self: following._EventStream) -> None:
        taken(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(following._EventStream, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(follower)
    assert list(follower) == []
    assert position(trail) == 1
    assert seqs(mailer(trail)) == [1, 2]


def test_a_failed_acknowledgement_is_no_acknowledgement(make_trail: Callable[..., Trail]) -> None:
    """Where the position could not be made durable `ack` raises, the follower stops, and the event may come again."""
    disk = FailingDisk()
    trail = make_trail(disk=disk)
    fill(trail, 2)
    follower = mailer(trail)
    delivery = next(follower)
    disk.fail["sync_data"] = OSError("injected")
    with pytest.raises(OSError, match="injected"):
        delivery.ack()
    disk.fail.clear()
    with pytest.raises(ClosedError, match="a write failed"):
        next(follower)
    follower.close()
    assert seqs(mailer(trail)) in ([0, 1], [1])


def test_events_that_a_writer_is_adopting_are_waited_for(trail: Trail) -> None:
    """A consumer that acknowledged what a dead writer left unmarked goes on, though a writer holds the queue just then."""
    fill(trail, 3)
    assert seqs(mailer(trail)) == [0, 1, 2]
    handle = trail.handle
    frame = pack_frame(COMMIT_MARK, 0, 0, recorded_us=0, durable=0, payload=b"")
    (path,) = (trail.path / "queue").glob("*.wal")
    data = path.read_bytes()
    with handle.active_queue().locked():
        mark = data.rindex(frame[:4])
        os.truncate(path, mark)  # as if the writer had died before its mark
        reader = ak.open(trail.path)
        assert reader.end_seq < 3
        with path.open("ab", buffering=0) as file:
            marking = threading.Timer(0.3, file.write, [data[mark:]])
            marking.start()
            assert list(mailer(reader)) == []
            marking.join()


def test_a_position_beyond_the_end_is_refused(
    make_trail: Callable[..., Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer of another history is refused instead of waiting for seqs that mean something else."""
    monkeypatch.setattr(following, "SETTLE_S", 0.05)
    trail, other = make_trail("one"), make_trail("two")
    fill(trail, 5)
    assert len(seqs(mailer(trail))) == 5
    (trail.path / "consumers").rename(other.path / "consumers")
    fill(other, 2)
    with pytest.raises(
        CorruptionError, match=r"beyond the committed end \(expected at most seq 2, found 5\)"
    ):
        mailer(other)


def test_a_copy_remembers_its_consumers(trail: Trail, tmp_path: Path) -> None:
    """A restored copy goes on where each consumer had come to, and each of the two histories by itself."""
    fill(trail, 4)
    follower = mailer(trail)
    next(follower).ack()
    ak.backup(trail, tmp_path / "copy")
    assert seqs(follower) == [1, 2, 3]
    with ak.open(tmp_path / "copy") as copy:
        fill(copy, 1)
        assert seqs(mailer(copy)) == [1, 2, 3, 4]
    assert position(trail) == 4


CRASHER = """
import os, sys, auditkit as ak
for delivery in ak.open(sys.argv[1]).follow("mailer", max_deliver=3, timeout_s=0):
    with delivery as event:
        print(event["seq"], delivery.attempt, flush=True)
        if event["action"] == "poison":
            os.kill(os.getpid(), 9)
"""


def test_an_event_that_kills_its_consumer_is_given_up(trail: Trail) -> None:
    """Deliveries are counted before they are handed over, so that a poisonous event cannot come for ever."""
    for action in ("good", "poison", "good"):
        trail.append(action=action).wait()
    lines, codes = [], []
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", CRASHER, str(trail.path)], capture_output=True, text=True, check=False
        )
        lines += done.stdout.splitlines()
        codes.append(done.returncode)
    assert lines == ["0 1", "1 1", "1 2", "1 3", "2 1"]
    assert codes == [-signal.SIGKILL] * 3 + [0]
    (letter,) = read_letters(trail.handle.layout)
    assert (letter.seq, letter.reason) == (1, "given up after 3 deliveries: not acknowledged")


def test_a_forked_child_leaves_the_consumer_to_its_parent(tmp_path: Path) -> None:
    """A child can neither go on with a follower nor keep its name from other processes."""
    code = """
import os, sys, auditkit as ak
trail = ak.create(sys.argv[1])
trail.append(action="a").wait()
follower = trail.follow("mailer", timeout_s=0)
delivery = next(follower)
read, write = os.pipe()
if os.fork() == 0:
    try:
        next(follower)
    except ak.AuditError as error:
        os.write(1, type(error).__name__.encode() + b"\\n")
    os.close(write)
    os.read(0, 1)  # outlive the parent, holding what it inherited
    os._exit(0)
os.close(write)
os.read(read, 1)
os._exit(0)
"""
    child_lives, release = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "audit")], stdin=child_lives, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ClosedError\n"
        process.wait(timeout=20)
        assert [d.attempt for d in [next(mailer(ak.open(tmp_path / "audit")))]] == [2]
        os.close(release)
        os.close(child_lives)


def _take_some(path: str, acknowledged: Any, stop_after: int) -> None:
    with ak.open(path) as trail:
        for count, delivery in enumerate(trail.follow("mailer", timeout_s=20), 1):
            with delivery as event:
                acknowledged.put((event["seq"], event["value"]))
            if count == stop_after:
                os.kill(os.getpid(), signal.SIGKILL)


def test_nothing_is_lost_between_a_producer_and_consumers_that_die(trail: Trail) -> None:
    """While events are appended and flushed, consumers that are killed in turn see each of them at least once, in order."""
    context = multiprocessing.get_context("spawn")
    acknowledged = context.SimpleQueue()

    def produce() -> None:
        for _ in range(10):
            fill(trail, 40)
            trail.flush()

    producer = threading.Thread(target=produce)
    producer.start()
    for stop_after in (70, 130, 200):
        process = context.Process(target=_take_some, args=(str(trail.path), acknowledged, stop_after))
        process.start()
        process.join(timeout=60)
        assert process.exitcode == -signal.SIGKILL
    producer.join()
    seen = []
    while not acknowledged.empty():
        seen.append(acknowledged.get())
    assert seen == [(n, float(n)) for n in range(400)]


def test_it_says_where_it_is(trail: Trail) -> None:
    """A follower shows its name and the seq it goes on from."""
    trail.extend([{"action": "a"}] * 2).wait()
    with trail.follow("mailer", timeout_s=0) as follower, trail.follow(start=1, timeout_s=0) as plain:
        next(follower).ack()
        assert repr(follower) == "<Follower 'mailer' at seq 1>"
        assert repr(plain) == "<Follower at seq 1>"
