"""How a trail comes to be open: created in a new or empty directory, or opened where it lies."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from auditkit.api import Trail
from auditkit.disk.durable import Disk, PosixDisk, publish, write_temporary
from auditkit.disk.layout import TEMPORARY_SUFFIX, Group, Layout, modes_for
from auditkit.errors import TrailExistsError, TrailNotFoundError
from auditkit.event import check_fields, field_type_name
from auditkit.keep.maintain import maintain_often, maintenance_is_due
from auditkit.queue.frames import FileHeader
from auditkit.queue.fsync_failure import FailureNote, pack_note
from auditkit.queue.receipts import Limits
from auditkit.queue.recovery import create_queue_file
from auditkit.retention.policy import Policy, declare_policy
from auditkit.store.catalog import FORMAT, create_catalog
from auditkit.store.records import PolicyRow, TrailInfo
from auditkit.timerange import Clock, SystemClock, Width, check_width, check_zone, parse_duration
from auditkit.trail.handle import Core, open_core
from auditkit.trail.view import View

TRAIL_VARIABLE = "AUDITKIT_TRAIL"
_SKELETON = frozenset(("queue.lock", "maint.lock", "queue", "segments", "dead-letters", "catalog.tmp"))
"""What a creation that died leaves behind."""


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
    _lay_out(disk, Layout(Path(path).absolute()), info, PolicyRow(from_seq=0, spec=policy.spec))
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
    core.due = _maintain_when_due
    return Trail(core, View(core=core, at=None, allow_pruned=False, tz=tz or core.info.tz))


def _maintain_when_due(core: Core) -> None:
    if maintenance_is_due(core):
        maintain_often(core)


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
    if not found <= _SKELETON:
        raise TrailExistsError(f"{layout.root}: not empty (found {min(found - _SKELETON)!r})")
