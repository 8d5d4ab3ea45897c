"""What every theme of a trail works on: its place, identity, clock, readers, and the writer once there is one.

Opening reads the catalog once and writes nothing.  The writer, with the locks it needs, comes into being at the
first append or maintenance.
"""

import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from auditkit.disk.durable import Disk, FileLock
from auditkit.disk.layout import Layout, Modes, modes_for
from auditkit.errors import ClosedError, TrailNotFoundError
from auditkit.event import FIELD_TYPES, EventSchema
from auditkit.queue.active import ActiveQueue
from auditkit.queue.dedup import DedupIndex
from auditkit.queue.frames import HEADER_BYTES, decode_columns, parse_frames
from auditkit.queue.tail import QueueTail
from auditkit.queue.writer import Limits, Writer
from auditkit.store.catalog import TrailInfo, read_catalog, read_keys
from auditkit.timerange import Clock, Width, check_width
from auditkit.trail.snapshot import Source

LOCK_TIMEOUT_S = 30.0


@dataclass(slots=True, weakref_slot=True, kw_only=True)
class Core:
    """The shared parts of one open trail."""

    disk: Disk
    clock: Clock
    layout: Layout
    info: TrailInfo
    schema: EventSchema
    modes: Modes
    source: Source
    maintains: bool
    limits: Limits
    maint_lock: FileLock
    queue: ActiveQueue | None = None
    writer: Writer | None = None
    closed: bool = False
    due: "Callable[[Core], None] | None" = None
    """Called after commits in the writer's thread, to flush and prune what is due."""
    starting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def trail_id(self) -> bytes:
        """The 16 bytes that every queue file of this trail carries."""
        return bytes.fromhex(self.info.trail_id)

    @property
    def partition(self) -> Width:
        """The time slot of a segment."""
        return check_width(self.info.partition)

    def check_open(self) -> None:
        """Raise `ClosedError` after `close`."""
        if self.closed:
            raise ClosedError(f"{self.layout.root}: the trail is closed")

    def writing(self) -> Writer:
        """Return the writer, becoming one at the first call."""
        self.check_open()
        if self.writer is None:
            with self.starting:
                if self.writer is None:
                    self._start()
        assert self.writer is not None  # noqa: S101 -- set by _start
        return self.writer

    def active_queue(self) -> ActiveQueue:
        """Return the growing end of the queue, becoming a writer at the first call."""
        self.writing()
        assert self.queue is not None  # noqa: S101 -- set by _start
        return self.queue

    def maintenance(self) -> AbstractContextManager[None]:
        """Hold the maintenance lock, waiting for others up to `LOCK_TIMEOUT_S`."""
        return self.maint_lock.held(timeout_s=LOCK_TIMEOUT_S)

    def close(self) -> None:
        """Commit what is accepted and give locks and descriptors back."""
        self.closed = True
        try:
            if self.writer is not None:
                self.writer.close()
        finally:
            self.maint_lock.close()

    def _start(self) -> None:
        self.queue = ActiveQueue(
            self.disk, self.layout, trail_id=self.trail_id, modes=self.modes, timeout_s=LOCK_TIMEOUT_S
        )
        this = weakref.ref(self)  # the writer's thread must not keep a forgotten trail alive
        layout = self.layout
        self.writer = Writer(
            self.queue,
            self.clock,
            self.schema.row_columns.index("attrs"),
            limits=self.limits,
            load_index=lambda: load_index(layout),
            after_commit=lambda: _call_due(this),
        )
        weakref.finalize(self, self.writer.close)  # also at the end of the interpreter


def _call_due(this: "weakref.ref[Core]") -> None:
    core = this()
    if core is not None and core.due is not None and core.maintains:
        core.due(core)


def load_index(layout: Layout) -> DedupIndex:
    """Return the keys that a writer must know: those in the queue, and those the catalog remembers.

    The queue is read first: what a flush moves in between is then in the catalog.
    """
    index = DedupIndex()
    queued = []
    for first in layout.queue_files():
        path = layout.queue_file(first)
        with suppress(FileNotFoundError):
            queued += [
                (frame, path) for frame in parse_frames(path.read_bytes()[HEADER_BYTES:], HEADER_BYTES)
            ]
    for row in read_keys(layout.catalog):
        index.learn_packed(row.entries)
    for frame, path in queued:
        if frame.count:
            index.learn(decode_columns(frame, path)[-1], frame.seq)
    return index


def open_core(root: Path, *, disk: Disk, clock: Clock, maintains: bool, limits: Limits) -> Core:
    """Read the catalog of the trail at `root`; raises `TrailNotFoundError` where there is none."""
    layout = Layout(root.absolute())
    if not layout.catalog.is_file():
        error = TrailNotFoundError(f"{root}: no trail here")
        error.add_note("create one with ak.create(path) or `auditkit init`")
        raise error
    info = read_catalog(layout.catalog).info
    declared = msgspec.json.decode(info.fields, type=dict[str, str])
    schema = EventSchema({name: FIELD_TYPES[kind] for name, kind in declared.items()})
    trail_id = bytes.fromhex(info.trail_id)
    return Core(
        disk=disk,
        clock=clock,
        layout=layout,
        info=info,
        schema=schema,
        modes=modes_for(info.sharing),
        source=Source(disk, layout, schema, QueueTail(disk, layout, trail_id=trail_id, schema=schema), set()),
        maintains=maintains,
        limits=limits,
        maint_lock=FileLock(disk, layout.maint_lock),
    )
