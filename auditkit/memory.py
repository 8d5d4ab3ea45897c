"""How much memory this process may still take: what Linux has, and what its control groups leave.

A container's limit is not in /proc/meminfo.  Limits hold for a group and all groups above it, in either version of
control groups: https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
"""

from collections.abc import Iterator
from pathlib import Path


def available_memory(root: Path = Path("/")) -> int:
    """Return how many bytes can be had without taking any from another process.

    `root` is where `proc` and `sys` are mounted.
    """
    lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    machine = int(fields["MemAvailable"].split()[0]) * 1024
    return max(0, min([machine, *_left_by_groups(root)]))


def _left_by_groups(root: Path) -> Iterator[int]:
    """Yield what each limited control group of this process leaves."""
    try:
        entries = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # a kernel without control groups
        return
    mount = root / "sys/fs/cgroup"
    for entry in entries:
        _, controllers, path = entry.split(":", 2)
        if not controllers:
            yield from _left(
                mount, path, limits=("memory.max", "memory.high"), usage="memory.current", stat=""
            )
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes",)
            yield from _left(
                mount / "memory", path, limits=names, usage="memory.usage_in_bytes", stat="total_"
            )


def _left(mount: Path, path: str, *, limits: tuple[str, ...], usage: str, stat: str) -> Iterator[int]:
    """Yield what a group and each group above it leaves; pages of files that Linux drops at once count as free."""
    group = mount / path.lstrip("/")
    if not group.is_dir():  # the path is the host's, and a container sees its own group as the root
        group = mount
    for folder in (group, *group.parents):
        most = min((limit for name in limits if (limit := _number(folder / name)) is not None), default=None)
        used = _number(folder / usage)
        if most is not None and used is not None:
            yield most - used + _dropped_at_once(folder / "memory.stat", f"{stat}inactive_file")
        if folder == mount:
            return


def _dropped_at_once(path: Path, name: str) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.split()[:1] == [name])


def _number(path: Path) -> int | None:
    """Return the number in a file; None where there is no file, or no limit in it."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
