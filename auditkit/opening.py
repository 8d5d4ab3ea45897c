"""How a trail comes to be open: created, opened where it lies, or copied to another place."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auditkit.api import Trail
from auditkit.disk.durable import Disk, PosixDisk
from auditkit.disk.layout import Group, Layout
from auditkit.errors import TrailNotFoundError
from auditkit.founding import found
from auditkit.keep.due import maintenance_is_due
from auditkit.keep.maintain import maintain_often
from auditkit.queue.receipts import Limits
from auditkit.retention.policy import Policy
from auditkit.timerange import Clock, SystemClock, Width, check_zone
from auditkit.trail.handle import Core, open_core
from auditkit.trail.view import View

TRAIL_VARIABLE = "AUDITKIT_TRAIL"


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
    found(
        disk,
        Layout(Path(path).absolute()),
        clock,
        retention=retention,
        fields=fields,
        tz=tz,
        partition=partition,
        max_ahead=max_ahead,
        group=group,
    )
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
