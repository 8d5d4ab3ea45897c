"""What every theme of a trail works on: its place, identity, clock, readers, and the writer once there is one.

Opening reads the catalog once and writes nothing.  The writer, with the locks it needs, comes into being at the
first append or maintenance.
"""

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Protocol

import msgspec
import polars as pl
from msgspec import Struct, field
from msgspec.structs import replace

from auditkit.disk.durable import Disk, FileLock
from auditkit.disk.layout import Layout, Modes, modes_for
from auditkit.errors import AuditError, ClosedError, TrailNotFoundError
from auditkit.event import FIELD_TYPES, EventSchema
from auditkit.queue.active import ActiveQueue
from auditkit.queue.group_commit import CLOSE_WITHIN_S, IDLE_CHECK_S, Writer
from auditkit.queue.receipts import Limits
from auditkit.queue.stored import StoredEvents
from auditkit.queue.tail import QueueTail
from auditkit.store.catalog import CurrentCatalog, read_catalog, replace_info
from auditkit.store.files import SegmentFiles
from auditkit.store.records import TrailInfo
from auditkit.store.rollups import Cubes
from auditkit.timerange import Clock, Width, check_width
from auditkit.trail.late import LateGate
from auditkit.trail.reader import SnapshotReader

LOCK_TIMEOUT_S = 30.0
RETRY_AFTER_S = 30.0
MAINTAINER_WITHIN_S = 10.0
"""How long closing waits for a step of maintenance: a merge, a flush."""
_PROBE_S = 5.0


class Follows(Protocol):
    """Who goes with the trail: closed with it, and let go of in a forked child."""

    def close(self) -> None:
        """Give everything back."""

    def abandon(self) -> None:
        """Leave everything to the parent process."""


class Handle(Struct, weakref=True, kw_only=True, eq=False):
    """The shared parts of one open trail."""

    disk: Disk
    clock: Clock
    layout: Layout
    info: TrailInfo
    schema: EventSchema
    modes: Modes
    reader: SnapshotReader
    late: LateGate
    maintains: bool
    limits: Limits
    maint_lock: FileLock
    queue: ActiveQueue | None = None
    writer: Writer | None = None
    closing: bool = False
    """True from the beginning of `close`: what is being maintained ends at its next step."""
    closed: bool = False
    forked: bool = False
    """Whether this is a child that was forked after a trail had been opened."""
    due: "Callable[[Handle], None] | None" = None
    """Called by the maintenance thread, to flush, prune and merge what is due."""
    maintainer: threading.Thread | None = None
    """The maintenance thread of a writer; the other thread, which commits, is the writer's own."""
    maintenance_failure: str | None = None
    """Why the last maintenance that began by itself failed."""
    next_attempt: float = 0.0
    next_look: float = 0.0
    """When maintenance looks at the queue again, on the clock of `monotonic`."""
    starting: threading.Lock = field(default_factory=threading.Lock)
    followers: "weakref.WeakSet[Follows]" = field(default_factory=weakref.WeakSet)
    """Who reads on from here and may hold a consumer's name."""
    unrecorded: int = 0
    """Calls that `audited(on_error="continue")` could not record."""

    @property
    def queue_id(self) -> bytes:
        """The 16 bytes that every queue file of this trail carries."""
        return queue_id(self.info)

    @property
    def partition(self) -> Width:
        """The time slot of a segment."""
        return check_width(self.info.partition)

    def check_open(self) -> None:
        """Raise `ClosedError` after `close`."""
        if self.closed:
            raise ClosedError(f"{self.layout.root}: the trail is closed")

    @property
    def can_query(self) -> bool:
        """Whether Polars works: of a child that was forked after Polars was used its threads have not come along."""
        return not self.forked or _polars_answers()

    def check_query(self) -> None:
        """Raise `ClosedError` where asking or flushing would wait for ever for threads that a fork has lost."""
        self.check_open()
        if not self.can_query:
            error = ClosedError(f"{self.layout.root}: this process was forked after Polars was used")
            error.add_note(
                "appending works; ask and flush in a process started with spawn or before the first query"
            )
            raise error

    def writing(self) -> Writer:
        """Return the writer, becoming one at the first call."""
        writer = self.writer
        if writer is not None and not self.closed:
            return writer
        self.check_open()
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
        """Hold the maintenance lock, waiting for others up to `LOCK_TIMEOUT_S`, or while closing `CLOSE_WITHIN_S`."""
        return self.maint_lock.held(timeout_s=CLOSE_WITHIN_S if self.closing else LOCK_TIMEOUT_S)

    def close(self) -> None:
        """Commit what is accepted, flush where that is due, and give locks and descriptors back.

        A lock that others hold is waited for a few seconds: then `LockedError` says how many accepted events are not
        stored.  Maintenance that is under way ends at its next step; what it leaves is done by the next writer.
        """
        self.closing = True
        if self.maintainer is not None and self.writer is not None:
            self.writer.activity.set()
            if self.maintainer.is_alive() and self.maintainer is not threading.current_thread():
                self.maintainer.join(MAINTAINER_WITHIN_S)
        try:
            self._finish()
        finally:
            self.closed = True
            for follower in list(self.followers):
                follower.close()
            try:
                if self.writer is not None:
                    self.writer.close()
            finally:
                self.maint_lock.close()
                self.reader.files.forget_others(())

    def _finish(self) -> None:
        """Look after the queue once more: a process may not live until the writer's thread comes to it."""
        if self.writer is None or self.closed or not self.maintains:
            return
        with suppress(AuditError, OSError):  # what failed there, closing the writer raises
            self.writer.commit()
            if self.maint_lock.try_acquire():  # else another thread or process is at it
                self.maint_lock.release()
                _call_due(weakref.ref(self))

    def after_fork(self) -> None:
        """Become a clean reader in a forked child; its first append makes a writer of its own."""
        self.starting = threading.Lock()
        self.maint_lock.abandon()
        self.reader.tail.after_fork()
        for follower in list(self.followers):
            follower.abandon()
        if self.writer is not None:
            self.writer.abandon()
        self.writer = self.queue = None
        self.maintainer = None
        self.maintains = False  # a child appends, and leaves maintenance to those who have all their threads
        self.forked = True
        self.late = LateGate(self.reader, self.schema, judges=False)
        _polars_answers.cache_clear()

    def _branch(self) -> None:
        """Take on an identity of one's own: this is a copy, and what is appended now is another history."""
        with self.maintenance():
            info = read_catalog(self.layout.catalog).info
            if info.branch_id is not None:
                branched_seq = self.reader.snapshot().committed_seq
                info = replace(
                    info,
                    trail_id=info.branch_id,
                    epoch=info.epoch + 1,
                    parent_id=info.trail_id,
                    branched_seq=branched_seq,
                    branch_id=None,
                )
                replace_info(self.layout.catalog, info)
            self.info = info

    def _start(self) -> None:
        if self.info.branch_id is not None:
            self._branch()
        disk, layout, trail_id = self.disk, self.layout, self.queue_id
        self.queue = ActiveQueue(
            disk,
            layout,
            trail_id=trail_id,
            modes=self.modes,
            timeout_s=LOCK_TIMEOUT_S,
            flushed_seq=lambda: read_catalog(layout.catalog).flushed_seq,
        )
        self.writer = Writer(
            self.queue,
            self.clock,
            StoredEvents(
                disk,
                layout,
                trail_id=trail_id,
                schema=self.schema,
                catalog=self.reader.catalog,
                files=self.reader.files,
            ),
            limits=self.limits,
        )
        weakref.finalize(self, self.writer.close)  # also at the end of the interpreter
        if self.maintains and self.due is not None:
            # It holds no more than a weak reference: a thread must not keep a forgotten trail alive.
            arguments = (weakref.ref(self), self.writer.activity)
            self.maintainer = threading.Thread(
                target=_look_after, args=arguments, name="auditkit-maintainer", daemon=True
            )
            with suppress(
                RuntimeError
            ):  # at the interpreter's end, or where an interrupt came between: it runs by then
                self.maintainer.start()

    def after_interrupt(self, interrupt: BaseException) -> None:
        """Give back what an interrupt left with the calling thread, and say in a note how far the trail has come."""
        if self.writer is None or self.queue is None:
            self.maint_lock.release()
            return
        self.writer.after_interrupt()
        self.maint_lock.release()
        interrupt.__context__ = None  # whose frames would hold what they have opened
        interrupt.add_note(f"auditkit: every event before seq {self.queue.next_seq} is stored")


_open_handles: "weakref.WeakSet[Handle]" = weakref.WeakSet()
_in_forked_child = threading.Event()
"""Set in a process that was forked after a trail had been opened: one that is opened here is not better off."""


def queue_id(info: TrailInfo) -> bytes:
    """Return the id in a trail's queue files: in an untouched copy already that of the branch it may become."""
    return bytes.fromhex(info.branch_id or info.trail_id)


@cache
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_after_fork)


@cache
def _polars_answers() -> bool:
    """Return whether Polars still has its threads in this forked child, by giving them something to do.

    Without them it waits for ever, and so does the thread that asks here.
    """
    answered = threading.Event()

    def ask() -> None:
        pl.DataFrame({"n": [0]}).hash_rows()
        answered.set()

    threading.Thread(target=ask, name="auditkit-probe", daemon=True).start()
    return answered.wait(_PROBE_S)


def _after_fork() -> None:
    _in_forked_child.set()
    for handle in list(_open_handles):
        handle.after_fork()


def _look_after(this: "weakref.ref[Handle]", activity: threading.Event) -> None:
    """Do what is due after commits, and now and then without: the maintenance thread."""
    while True:
        activity.wait(IDLE_CHECK_S)
        activity.clear()
        handle = this()
        if handle is None or handle.closing:
            return
        del handle
        _call_due(this)


def _call_due(this: "weakref.ref[Handle]") -> None:
    """Do what is due; a failure leaves the queue whole, shows in `stats`, and is tried again after a while.

    It must not end the maintenance thread, which looks again later.
    """
    handle = this()
    if handle is None or handle.due is None or not handle.maintains or handle.closed:
        return
    if handle.maintenance_failure is not None and monotonic() < handle.next_attempt:
        return
    try:
        handle.due(handle)
    except Exception as exc:
        if not handle.closed:
            handle.maintenance_failure = f"{type(exc).__name__}: {exc}"
            handle.next_attempt = monotonic() + RETRY_AFTER_S
    else:
        handle.maintenance_failure = None


def open_handle(root: Path, *, disk: Disk, clock: Clock, maintains: bool, limits: Limits) -> Handle:
    """Read the catalog of the trail at `root`; raises `TrailNotFoundError` where there is none."""
    layout = Layout(root.absolute())
    if not layout.catalog.is_file():
        error = TrailNotFoundError(f"{root}: no trail here")
        error.add_note("create one with ak.create(path) or `auditkit init`")
        raise error
    catalog = CurrentCatalog(layout.catalog)
    info = catalog.read().info
    declared = msgspec.json.decode(info.fields, type=dict[str, str])
    schema = EventSchema({name: FIELD_TYPES[kind] for name, kind in declared.items()})
    reader = SnapshotReader(
        layout,
        schema,
        QueueTail(disk, layout, trail_id=queue_id(info), schema=schema),
        catalog,
        SegmentFiles(layout, schema),
        Cubes(layout),
    )
    forked = _in_forked_child.is_set()
    handle = Handle(
        disk=disk,
        clock=clock,
        layout=layout,
        info=info,
        schema=schema,
        modes=modes_for(info.sharing),
        reader=reader,
        late=LateGate(reader, schema, judges=not forked),
        maintains=maintains,
        limits=limits,
        maint_lock=FileLock(disk, layout.maint_lock),
        forked=forked,
    )
    _watch_forks()
    _open_handles.add(handle)
    return handle
