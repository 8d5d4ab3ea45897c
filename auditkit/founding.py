"""Founding a trail: an empty one, laid out in a new or empty directory."""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from auditkit.disk.durable import Disk, publish, write_temporary
from auditkit.disk.layout import TEMPORARY_SUFFIX, Group, Layout, modes_for
from auditkit.errors import TrailExistsError
from auditkit.event import check_fields, field_type_name
from auditkit.queue.frames import FileHeader
from auditkit.queue.fsync_failure import FailureNote, pack_note
from auditkit.queue.recovery import create_queue_file
from auditkit.retention.policy import Policy, declare_policy
from auditkit.store.catalog import FORMAT, create_catalog
from auditkit.store.records import PolicyRow, TrailInfo
from auditkit.timerange import Clock, Width, check_width, check_zone, parse_duration

_SKELETON = frozenset(("queue.lock", "maint.lock", "queue", "segments", "dead-letters", "catalog.tmp"))


def found(
    disk: Disk,
    layout: Layout,
    clock: Clock,
    *,
    retention: str | Policy | None,
    fields: Mapping[str, Any] | None,
    tz: str,
    partition: Width,
    max_ahead: str,
    group: Group | None,
) -> None:
    """See `create` in `auditkit.opening`."""
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
