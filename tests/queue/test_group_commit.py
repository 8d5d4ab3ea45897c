"""Group commit between threads."""

import errno
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from auditkit.disk.durable import FileLock, PosixDisk
from auditkit.errors import ClosedError, LockedError
from auditkit.queue import group_commit
from auditkit.queue.group_commit import COMMIT_AT_EVENTS, Writer
from auditkit.queue.payload import PAYLOAD_ROWS
from auditkit.queue.receipts import Limits
from tests.fakes import FailingDisk, ManualClock, interrupting
from tests.queue.conftest import Bench


class Rig:
    """A writer over a disk that can be made to fail."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.disk = FailingDisk()
        self.writer = Writer(bench.active(self.disk), ManualClock(), bench.stored())


@pytest.fixture
def rig(bench: Bench) -> Iterator[Rig]:
    """Return a rig and close its writer afterwards."""
    rig = Rig(bench)
    yield rig
    rig.disk.fail.clear()
    try:
        rig.writer.close()
    except ClosedError:
        assert rig.writer.pending_events == 0


def test_receipts_tell_seqs_in_order(rig: Rig) -> None:
    """Each receipt gets the seqs of its own events, in the order of submission."""
    receipts = [rig.writer.submit([rig.bench.row(f"a{n}")] * (n + 1)) for n in range(3)]
    assert [r.wait() for r in receipts] == [0, 1, 3]
    assert [r.count for r in receipts] == [1, 2, 3]
    assert rig.bench.actions() == ["a0", "a1", "a1", "a2", "a2", "a2"]


def test_an_empty_batch_is_done_at_once(rig: Rig) -> None:
    """No rows, no seq, no commit."""
    receipt = rig.writer.submit([])
    assert receipt.done
    assert receipt.wait() is None
    assert rig.writer.counters.commits == 0


def test_a_large_batch_goes_through_several_blocks(rig: Rig) -> None:
    """A batch larger than a block is committed whole with one sync."""
    rows = [rig.bench.row("a")] * (2 * PAYLOAD_ROWS + 5)
    assert rig.writer.submit(rows).wait() == 0
    assert rig.writer.counters.commits == 1
    assert len(rig.bench.actions()) == len(rows)


def test_what_no_caller_waits_for_is_committed_by_itself(rig: Rig) -> None:
    """The writer's thread commits on its own what no one waits for."""
    receipts = [rig.writer.submit([rig.bench.row("a")]) for _ in range(COMMIT_AT_EVENTS)]
    while not receipts[-1].done:
        threading.Event().wait(0.005)
    assert [r.first for r in receipts] == list(range(COMMIT_AT_EVENTS))


@pytest.mark.parametrize("pause", [False, True])
def test_a_single_event_is_committed_by_itself_too(rig: Rig, *, pause: bool) -> None:
    """One event that no caller waits for becomes durable, whether the writer's thread is new, napping or asleep."""
    for n in range(3):
        receipt = rig.writer.submit([rig.bench.row("a")])
        while not receipt.done:
            threading.Event().wait(0.005)
        assert receipt.first == 2 * n
        assert rig.writer.append(rig.bench.row("waited for")).wait() == 2 * n + 1
        while pause and rig.writer._called:
            threading.Event().wait(0.005)


def test_many_threads_share_commits(rig: Rig) -> None:
    """Threads that each wait for their own event get distinct seqs, and fewer commits than events."""
    seqs: list[int] = []
    barrier = threading.Barrier(16)

    def work() -> None:
        barrier.wait()
        for _ in range(25):
            seq = rig.writer.submit([rig.bench.row("a")]).wait()
            assert seq is not None
            seqs.append(seq)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seqs) == list(range(400))
    assert rig.writer.counters.commits < 400


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), MemoryError("none")])
def test_a_failed_commit_fails_every_open_receipt(rig: Rig, error: BaseException) -> None:
    """After a failure every waiter hears of it, and the writer goes on in a new commit."""
    rig.disk.fail["sync_data"] = error
    receipts = [rig.writer.submit([rig.bench.row("a")]) for _ in range(5)]
    heard = []

    def wait(position: int) -> None:
        try:
            receipts[position].wait(10)
        except BaseException as exc:
            heard.append(exc)

    threads = [threading.Thread(target=wait, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert heard == [error] * 5
    rig.disk.fail.clear()
    seq = rig.writer.submit([rig.bench.row("b")]).wait()
    assert seq == (0 if isinstance(error, OSError) else 5)  # what else came between may be stored or not
    assert rig.bench.actions()[seq:] == ["b"]


def test_a_failure_that_no_caller_waited_for_is_raised_once(rig: Rig) -> None:
    """What failed in the background is raised by the next append or commit, and then the writer goes on."""
    for verb in (lambda: rig.writer.append(rig.bench.row("refused")), rig.writer.commit, rig.writer.close):
        rig.disk.fail["sync_data"] = OSError(errno.ENOSPC, "full")
        receipt = rig.writer.submit([rig.bench.row("a")])
        while not receipt.done:
            threading.Event().wait(0.005)
        rig.disk.fail.clear()
        with pytest.raises(OSError, match="full"):
            verb()
        if verb != rig.writer.close:
            assert rig.writer.submit([rig.bench.row("b")]).wait() == rig.bench.tail().read().end_seq - 1
        with pytest.raises(OSError, match="full"):
            receipt.wait()
    assert rig.bench.actions() == ["b", "b"]


def test_a_failure_that_a_caller_waited_for_is_not_raised_again(rig: Rig) -> None:
    """The caller that waits for its event is told, and the next append goes on."""
    rig.disk.fail["sync_data"] = OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="full"):
        rig.writer.append(rig.bench.row("a")).wait()
    rig.disk.fail.clear()
    assert rig.writer.append(rig.bench.row("b")).wait() == 0
    rig.writer.commit()


def test_a_lock_that_is_not_had_in_time_fails_nothing(bench: Bench) -> None:
    """What was accepted while another process holds the queue's lock waits for the next try, and keeps its place."""
    writer = Writer(bench.active(timeout_s=0.05), ManualClock(), bench.stored())
    with FileLock(PosixDisk(), bench.layout.queue_lock).held(timeout_s=1):
        receipts = [writer.submit([bench.row("a")]), writer.submit([bench.row("b")])]
        with pytest.raises(LockedError):
            receipts[0].wait()
        assert not any(receipt.done for receipt in receipts)
        receipts.append(writer.submit([bench.row("c")]))
    assert [receipt.wait() for receipt in receipts] == [0, 1, 2]
    writer.close()
    assert bench.actions() == ["a", "b", "c"]


def test_at_the_bound_nothing_is_accepted_that_cannot_be_committed(bench: Bench) -> None:
    """A caller that finds the buffer full, and the lock taken, is refused, and only what was accepted is stored."""
    limits = Limits(pending_events=3)
    writer = Writer(bench.active(timeout_s=0.02), ManualClock(), bench.stored(), limits=limits)
    with FileLock(PosixDisk(), bench.layout.queue_lock).held(timeout_s=1):
        receipts = [writer.append(bench.row(name)) for name in "abc"]
        for _ in range(2):
            with pytest.raises(LockedError):
                writer.append(bench.row("refused"))
        assert writer.pending_events == 3
    receipts.append(writer.append(bench.row("d")))
    assert [receipt.wait() for receipt in receipts] == [0, 1, 2, 3]
    writer.close()
    assert bench.actions() == ["a", "b", "c", "d"]


def test_a_lock_that_is_free_again_is_found_by_itself(bench: Bench) -> None:
    """What no caller waits for is committed once the lock that it lacked is free."""
    writer = Writer(bench.active(timeout_s=0.01), ManualClock(), bench.stored())
    with FileLock(PosixDisk(), bench.layout.queue_lock).held(timeout_s=1):
        receipt = writer.submit([bench.row("a")])
        threading.Event().wait(0.3)
        assert bench.actions() == []
    while not receipt.done:
        threading.Event().wait(0.005)
    assert receipt.first == 0
    writer.close()


def test_closing_says_what_it_could_not_store(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the queue's lock is not to be had, closing ends soon, and names how many events are not stored."""
    monkeypatch.setattr(group_commit, "CLOSE_WITHIN_S", 0.1)
    writer = Writer(bench.active(timeout_s=60), ManualClock(), bench.stored())
    with FileLock(PosixDisk(), bench.layout.queue_lock).held(timeout_s=1):
        receipts = [writer.submit([bench.row("a")]) for _ in range(3)]
        begun = monotonic()
        with pytest.raises(LockedError, match="3 accepted events"):
            writer.close()
        assert monotonic() - begun < 10
    for receipt in receipts:
        with pytest.raises(LockedError):
            receipt.wait()
    assert bench.actions() == []


def test_waiting_has_a_timeout_and_leaves_the_receipt_open(rig: Rig) -> None:
    """A wait that takes too long raises and can be repeated."""
    entered, leave = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        leave.wait(10)

    rig.disk.before["sync_data"] = slow
    receipt = rig.writer.submit([rig.bench.row("a")])
    leader = threading.Thread(target=receipt.wait)
    leader.start()
    entered.wait(10)
    other = rig.writer.submit([rig.bench.row("b")])
    with pytest.raises(TimeoutError):
        other.wait(0.01)
    assert not other.done
    leave.set()
    leader.join(10)
    assert other.wait(10) == 1


def test_closing_commits_and_then_refuses(rig: Rig) -> None:
    """Close makes durable what was accepted; afterwards appends raise."""
    rig.writer.submit([rig.bench.row("a")])
    rig.writer.close()
    assert rig.bench.actions() == ["a"]
    with pytest.raises(ClosedError):
        rig.writer.submit([rig.bench.row("b")])


@pytest.mark.parametrize("operation", ["write", "sync_data"])
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_inside_a_commit_is_answered_once_it_is_over(
    rig: Rig, operation: str, times: int
) -> None:
    """Ctrl-C while events are being stored stores them, says so in a short traceback's note, and the writer lives."""
    receipts = [rig.writer.submit([rig.bench.row("a")]), rig.writer.submit([rig.bench.row("b")] * 2)]
    rig.disk.before[operation] = interrupting(times=times)
    with pytest.raises(KeyboardInterrupt) as caught:
        receipts[1].wait()
    assert caught.value.__notes__ == ["auditkit: stored as seqs 1 to 2"]
    ours = [frame for frame in caught.traceback if "auditkit/" in str(frame.path)]
    assert len(ours) <= 2
    assert [receipt.wait() for receipt in receipts] == [0, 1]
    assert rig.writer.append(rig.bench.row("c")).wait() == 3
    assert rig.bench.actions() == ["a", "b", "b", "c"]


def test_an_interrupt_before_a_commit_leaves_it_for_the_next_try(rig: Rig) -> None:
    """Ctrl-C while the lock is being taken stores nothing and loses nothing: the next wait does."""
    receipt = rig.writer.submit([rig.bench.row("a")])
    rig.disk.before["lock"] = interrupting()
    with pytest.raises(KeyboardInterrupt) as caught:
        receipt.wait()
    assert caught.value.__notes__ == ["auditkit: accepted, and stored by the next commit"]
    assert rig.bench.actions() == []
    other = rig.writer.submit([rig.bench.row("b")])
    assert [receipt.wait(), other.wait()] == [0, 1]
    assert rig.bench.actions() == ["a", "b"]
