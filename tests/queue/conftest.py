"""An empty queue on a real disk."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from auditkit.disk.durable import Disk, PosixDisk
from auditkit.disk.layout import Layout, modes_for
from auditkit.event import EventSchema, Row, Rules
from auditkit.queue.active import ActiveQueue
from auditkit.queue.frames import HEADER_BYTES, FileHeader, parse_frames
from auditkit.queue.fsync_failure import FailureNote, pack_note
from auditkit.queue.payload import Payload, encode_rows
from auditkit.queue.recovery import create_queue_file
from auditkit.queue.stored import StoredEvents
from auditkit.queue.tail import QueueTail
from auditkit.store.catalog import CurrentCatalog
from auditkit.store.files import SegmentFiles

TRAIL_ID = b"0123456789abcdef"
RULES = Rules(now_us=1_700_000_000_000_000, max_ahead_us=0)


@dataclass
class Bench:
    """What queue tests share: a layout, and makers of writers, readers and payloads."""

    layout: Layout
    schema: EventSchema

    def active(self, disk: Disk | None = None, *, timeout_s: float = 5) -> ActiveQueue:
        """Return a new process's hold on the queue."""
        return ActiveQueue(
            disk or PosixDisk(), self.layout, trail_id=TRAIL_ID, modes=modes_for(None), timeout_s=timeout_s
        )

    def tail(self, disk: Disk | None = None) -> QueueTail:
        """Return a new reader."""
        return QueueTail(disk or PosixDisk(), self.layout, trail_id=TRAIL_ID, schema=self.schema)

    def stored(self) -> StoredEvents:
        """Return what a writer asks about ids."""
        return StoredEvents(
            PosixDisk(),
            self.layout,
            trail_id=TRAIL_ID,
            schema=self.schema,
            catalog=CurrentCatalog(self.layout.catalog),
            files=SegmentFiles(self.layout),
        )

    def row(self, action: str) -> Row:
        """Return a valid row."""
        return self.schema.row({"action": action}, RULES)

    def payload(self, *actions: str, ends_batch: bool = True) -> Payload:
        """Return a payload of rows, one per action."""
        return Payload(
            encode_rows([self.row(action) for action in actions]), len(actions), ends_batch=ends_batch
        )

    def actions(self) -> list[str]:
        """Return the actions a new reader shows, in order; fails where seqs have a gap."""
        view = self.tail().read()
        assert view.events.get_column("seq").to_list() == list(range(view.first_seq, view.end_seq))
        return list(view.events.get_column("action").cast(str))


def end_of(path: Path) -> int:
    """Return where the frames of a file end, and the preallocated space behind them begins."""
    frames = parse_frames(path.read_bytes()[HEADER_BYTES:], HEADER_BYTES)
    return max((frame.end for frame in frames), default=HEADER_BYTES)


def append_bytes(path: Path, data: bytes, *, hole: int = 0) -> None:
    """Write raw bytes behind a file's frames, as a writer does that dies right after; lose the first `hole` of them."""
    end = end_of(path)
    with path.open("r+b") as file:
        file.seek(end + hole)
        file.write(data[hole:])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return an empty queue."""
    layout = Layout(tmp_path / "trail")
    for folder in layout.directories():
        folder.mkdir()
    layout.queue_lock.write_bytes(pack_note(FailureNote()))
    layout.maint_lock.write_bytes(b"")
    header = FileHeader(trail_id=TRAIL_ID, first_seq=0, recorded_us=0)
    create_queue_file(PosixDisk(), layout, header, modes_for(None))
    return Bench(layout, EventSchema())
