"""How a trail comes to be open: created in a new or empty directory, or opened where it lies."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from auditkit.api import Trail
from auditkit.disk.durable import Disk, PosixDisk, publish, write_temporary
from auditkit.disk.inside import is_there
from auditkit.disk.layout import TEMPORARY_SUFFIX, Group, Layout, modes_for
from auditkit.errors import InvalidTimeError, TrailExistsError, TrailNotFoundError
from auditkit.event import check_fields, field_type_name
from auditkit.keep.maintain import maintain_often, maintenance_is_due
from auditkit.queue.frames import FileHeader
from auditkit.queue.fsync_failure import FailureNote, pack_note
from auditkit.queue.receipts import Limits
from auditkit.queue.recovery import create_queue_file
from auditkit.retention.policy import Policy, RetentionRules, declare_policy
from auditkit.store.catalog import FORMAT, create_catalog
from auditkit.store.records import PolicyRow, TrailInfo
from auditkit.timerange import Clock, SystemClock, Width, check_width, check_zone, parse_duration
from auditkit.trail.handle import Handle, open_handle
from auditkit.trail.view import View

TRAIL_VARIABLE = "AUDITKIT_TRAIL"
_SKELETON = frozenset(("queue.lock", "maint.lock", "queue", "segments", "dead-letters", "catalog.tmp"))
"""What a creation that died leaves behind."""


def create(
    path: str | Path,
    *,
    retention: RetentionRules | Policy = None,
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

    On return the trail is durable.  If it raises, the directory is no trail, and creating it again goes on with what is there.

    Parameters
    ----------
    path : str or Path
        The trail's directory; missing parents are made.
    retention : str, mapping, sequence or None, default None
        How long events are kept, such as `"90d"` or `"7y"`, or rules such as `{"auth.*": "7y", "*": "90d"}`, as in `set_retention`;
        None: for ever.
    fields : mapping of str to dtype, optional
        Typed columns of the trail's own, such as `{"amount": pl.Float64}`: String, Int64, Float64, Boolean or
        Datetime("us", "UTC").  They cannot be changed later.
    tz : str, default "UTC"
        IANA zone of days and of times without one in questions.
    partition : {"1h", "1d", "1mo"}, default "1d"
        Time slot of a segment, in UTC.
    max_ahead : str, default "1d"
        How far ahead of the clock a `ts` may lie.
    group : {"read", "write"} or None, default None
        What the group of the files may do; None: nothing, the trail is its owner's only.
    maintain : bool, default True
        Whether the object flushes, compacts and prunes by itself, in a thread, once it has appended; False leaves that to
        another process (`auditkit maintain`), as in the workers of a server.
    limits : Limits or None, default None
        Bounds on what a writer holds in memory and in the queue, and what happens at them.
    clock : Clock or None, default None
        Where "now" comes from; None: the machine's clock.
    disk : Disk or None, default None
        What stands between the trail and the operating system; None: a local POSIX file system.

    Returns
    -------
    Trail
        Open, and empty.

    Raises
    ------
    TrailExistsError
        There is a trail already, or the directory holds something else.
    ValueError
        An argument does not read.
    StorageError
        Something could not be written.

    Examples
    --------
    >>> import tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp(), retention="90d", tz="Europe/Stockholm")
    >>> trail.retention.policy, trail.tz
    ('keep 90d', 'Europe/Stockholm')
    """
    disk, clock = disk or PosixDisk(Path(path).absolute()), clock or SystemClock()
    policy = declare_policy(retention)
    ahead = parse_duration(max_ahead, name="max_ahead")
    if ahead.negative:
        raise InvalidTimeError("max_ahead", max_ahead, "not a positive duration")
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
        max_ahead_us=ahead.after(0),
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
    """Open a trail; `ak.open` is this function.

    Writes nothing, locks nothing, and works on read-only media; the first `append` makes the object a writer.

    Parameters
    ----------
    path : str, Path or None, default None
        The trail's directory; None: what the environment variable AUDITKIT_TRAIL names.
    tz : str, optional
        IANA zone of days and of times without one, by default the zone the trail was created with.
    maintain : bool, default True
        Whether the object flushes, compacts and prunes by itself, in a thread, once it has appended; False leaves that to
        another process (`auditkit maintain`), as in the workers of a server.
    limits : Limits or None, default None
        Bounds on what a writer holds in memory and in the queue, and what happens at them.
    clock : Clock or None, default None
        Where "now" comes from; None: the machine's clock.
    disk : Disk or None, default None
        What stands between the trail and the operating system; None: a local POSIX file system.

    Returns
    -------
    Trail
        Open; `close` it, or use it as a context manager.

    Raises
    ------
    TrailNotFoundError
        There is no trail at this path, or none is named.
    FormatError
        It was written in a format that this version does not know.
    CorruptionError
        What is read of it is not what was written.
    InvalidTimeError
        `tz` is not the name of a zone.

    Examples
    --------
    >>> import tempfile
    >>> import auditkit as ak
    >>> trail = ak.create(tempfile.mkdtemp())
    >>> trail.append(action="doc.read").wait()
    0
    >>> ak.open(trail.path).range().height
    1
    """
    if path is None:
        path = os.environ.get(TRAIL_VARIABLE) or None
        if path is None:
            raise TrailNotFoundError(f"trail: no path given, and {TRAIL_VARIABLE} is not set")
    if tz is not None:
        check_zone(tz)
    handle = open_handle(
        Path(path),
        disk=disk or PosixDisk(Path(path).absolute()),
        clock=clock or SystemClock(),
        maintains=maintain,
        limits=limits or Limits(),
    )
    handle.due = _maintain_when_due
    return Trail(handle, View(handle=handle, at=None, allow_pruned=False, tz=tz or handle.info.tz))


def _maintain_when_due(handle: Handle) -> None:
    if maintenance_is_due(handle):
        maintain_often(handle)


def _lay_out(disk: Disk, layout: Layout, info: TrailInfo, policy: PolicyRow) -> None:
    """Write an empty trail; its catalog appears last, whole, and makes it one."""
    modes = modes_for(info.sharing)
    _refuse_taken(layout)
    layout.root.parent.mkdir(parents=True, exist_ok=True)
    for folder in layout.directories():
        disk.make_directory(folder, modes.directory)
    for lock, content in ((layout.queue_lock, pack_note(FailureNote())), (layout.maint_lock, b"")):
        if not is_there(lock):
            write_temporary(disk, lock, content, modes.lock)
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
