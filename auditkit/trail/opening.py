"""How a trail comes to be open: created, opened where it lies, or copied to another place."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from auditkit.disk.durable import Disk, PosixDisk, publish, write_temporary
from auditkit.disk.layout import TEMPORARY_SUFFIX, Group, Layout, modes_for
from auditkit.errors import TrailExistsError, TrailNotFoundError
from auditkit.event import check_fields, field_type_name
from auditkit.keep.policy import Policy, declare_policy
from auditkit.queue.failure import FailureNote, pack_note
from auditkit.queue.files import create_queue_file
from auditkit.queue.frames import FileHeader
from auditkit.queue.writer import Limits
from auditkit.store.catalog import FORMAT, create_catalog
from auditkit.store.records import PolicyRow, TrailInfo
from auditkit.timerange import Clock, SystemClock, Width, check_width, check_zone, parse_duration
from auditkit.trail import copying, keeping
from auditkit.trail.asking import View
from auditkit.trail.copying import BackupSummary, Progress
from auditkit.trail.core import open_core
from auditkit.trail.facade import Trail

TRAIL_VARIABLE = "AUDITKIT_TRAIL"
_SKELETON = frozenset(("queue.lock", "maint.lock", "queue", "segments", "dead-letters", "catalog.tmp"))


def create(
    path: str | Path,
    *,
    retention: str | Policy | None = None,
    fields: Mapping[str, Any] | None = None,
    tz: str = "UTC",
    partition: Width = "1d",
    max_ahead: str = "1d",
    group: Group | None = None,
    maintain: bool = True,
    limits: Limits | None = None,
    clock: Clock | None = None,
    disk: Disk | None = None,
) -> Trail:
    """Create a trail in a new or empty directory and open it.

    `retention` keeps events for a duration, `None` for ever; `fields` declares typed extra columns; `tz` is the
    zone of days and of times without one; `partition` the time slot of a segment; `max_ahead` how far a `ts` may lie
    ahead of the clock; `group` whether the file's group may read or write.  Raises `TrailExistsError` where the
    directory holds anything.
    """
    disk, clock = disk or PosixDisk(), clock or SystemClock()
    layout = Layout(Path(path).absolute())
    policy = declare_policy(retention)
    check_zone(tz)
    declared = {name: field_type_name(kind) for name, kind in check_fields(fields or {}).items()}
    info = TrailInfo(
        format=FORMAT,
        trail_id=secrets.token_hex(16),
        epoch=0,
        parent_id=None,
        branched_seq=None,
        branch_id=None,
        created_us=clock.now_us(),
        tz=tz,
        partition=check_width(partition),
        max_ahead_us=parse_duration(max_ahead, name="max_ahead").shortest_us,
        sharing=group,
        fields=msgspec.json.encode(declared).decode(),
    )
    _lay_out(disk, layout, info, PolicyRow(from_seq=0, spec=policy.spec))
    return open_trail(path, maintain=maintain, limits=limits, clock=clock, disk=disk)


def open_trail(
    path: str | Path | None = None,
    *,
    tz: str | None = None,
    maintain: bool = True,
    limits: Limits | None = None,
    clock: Clock | None = None,
    disk: Disk | None = None,
) -> Trail:
    """Open the trail at `path`, or the one that the environment variable AUDITKIT_TRAIL names.

    Writes nothing, locks nothing, and works on read-only media; the first append makes the object a writer.  With
    `maintain=False` it never flushes or prunes by itself; `limits` bound what it holds.  Raises `TrailNotFoundError` where there is no trail.
    """
    if path is None:
        path = os.environ.get(TRAIL_VARIABLE) or None
        if path is None:
            raise TrailNotFoundError(f"no path given and {TRAIL_VARIABLE} is not set")
    if tz is not None:
        check_zone(tz)
    core = open_core(
        Path(path),
        disk=disk or PosixDisk(),
        clock=clock or SystemClock(),
        maintains=maintain,
        limits=limits or Limits(),
    )
    core.due = keeping.maintain_when_due
    return Trail(core, View(core=core, at=None, allow_pruned=False, tz=tz or core.info.tz))


def backup(
    trail: Trail | str | Path, target: str | Path, *, progress: Progress | None = None
) -> BackupSummary:
    """Copy a trail, which others may be writing to, into a new or empty directory; checked and durable on return.

    The copy is the same trail until somebody appends to it: then it becomes a branch with an id of its own that
    names its parent.  Raises `TrailExistsError` where `target` holds anything, `CorruptionError` where a segment is
    not what was written.
    """
    opened = trail if isinstance(trail, Trail) else open_trail(trail)
    return copying.backup(opened.core, Path(target), progress=progress)


def _lay_out(disk: Disk, layout: Layout, info: TrailInfo, policy: PolicyRow) -> None:
    """Write an empty trail; its catalog appears last, whole, and makes it one."""
    modes = modes_for(info.sharing)
    _refuse_taken(layout)
    layout.root.parent.mkdir(parents=True, exist_ok=True)
    for folder in layout.directories():
        disk.make_directory(folder, modes.directory)
    for lock, content in ((layout.queue_lock, pack_note(FailureNote())), (layout.maint_lock, b"")):
        if not lock.exists():
            write_temporary(disk, lock, content, modes.file)
    header = FileHeader(trail_id=bytes.fromhex(info.trail_id), first_seq=0, recorded_us=0)
    create_queue_file(disk, layout, header, modes)
    temporary = layout.catalog.with_suffix(TEMPORARY_SUFFIX)
    disk.unlink(temporary)
    create_catalog(temporary, info, policy)
    temporary.chmod(modes.file)
    publish(disk, temporary, layout.catalog)
    disk.sync_directory(layout.root.parent)


def _refuse_taken(layout: Layout) -> None:
    if not layout.root.exists():
        return
    if not layout.root.is_dir():
        raise TrailExistsError(f"{layout.root}: not a directory")
    found = {path.name for path in layout.root.iterdir()}
    if "catalog.sqlite" in found:
        raise TrailExistsError(f"{layout.root}: there is a trail already")
    if not found <= _SKELETON:  # the skeleton alone is what a creation that died leaves behind
        raise TrailExistsError(f"{layout.root}: not empty (found {min(found - _SKELETON)!r})")
