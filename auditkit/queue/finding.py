"""What the bytes of a queue file say, frame by frame: pure, so that recovery is decided apart from being done."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct, field

from auditkit.errors import CorruptionError
from auditkit.queue.frames import JUMP, MARK, PART, SEAL, Frame


class Findings(Struct, kw_only=True):
    """What valid frames say, from `batch_end` = where they begin and `next_seq` = the seq expected first.

    `batches` are the frames of whole batches, which end at `batch_end`; valid frames go on to `parsed`.
    """

    batch_end: int
    parsed: int
    next_seq: int
    recorded_us: int = 0
    batches: list[Frame] = field(default_factory=list)
    last_mark: Frame | None = None
    """The last mark or seal: what lies before it was durable."""
    jump: Frame | None = None
    """A jump at the very end: whether it happened is for the catalog to say."""
    successor: int | None = None
    """The first seq of the next file, where this one is sealed."""


def find(frames: Iterable[Frame], start: int, next_seq: int, path: Path) -> Findings:
    """Take in frames that begin at file position `start`, up to a seal.

    Raises `CorruptionError` where one does not carry the seq that is due.
    """
    found = Findings(batch_end=start, parsed=start, next_seq=next_seq)
    seq, open_batch = next_seq, []
    for frame in frames:
        found.recorded_us = max(found.recorded_us, frame.recorded_us)
        found.parsed = frame.end
        if frame.kind == JUMP:
            found.jump = frame
            continue
        if found.jump is not None:
            seq, found.jump = found.jump.seq, None
        check_order(frame, seq, path)
        seq += frame.count
        open_batch.append(frame)
        if frame.kind == PART:
            continue
        found.batches += open_batch
        open_batch, found.batch_end, found.next_seq = [], frame.end, seq
        if frame.kind in (MARK, SEAL):
            found.last_mark = frame
        if frame.kind == SEAL:
            found.successor = frame.seq
            break
    return found


def find_durable(
    frames: Iterable[Frame], start: int, end: int, flushed_seq: Callable[[], int], path: Path
) -> Iterator[Frame]:
    """Yield the frames from `start` on that count, of a file of which everything before `end` was durable.

    A jump that the catalog does not know never happened.  Raises `CorruptionError` where a frame is damaged.
    """
    reached = start
    for frame in frames:
        reached = frame.end
        if frame.kind == JUMP and flushed_seq() < frame.seq:
            break
        yield frame
    if reached < end:
        raise CorruptionError(path, offset=reached, reason="damaged frame among durable ones")


def check_order(frame: Frame, expected: int, path: Path) -> None:
    """Raise `CorruptionError` unless a frame carries the seq that is due."""
    if frame.seq != expected:
        raise CorruptionError(
            path,
            offset=frame.offset,
            reason=f"frame out of order (expected seq {expected}, found {frame.seq})",
        )
