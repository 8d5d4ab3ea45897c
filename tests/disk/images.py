"""Images of a folder: everything in it as it is, to compare before and after."""

import stat
from collections.abc import Collection
from pathlib import Path


def image(folder: Path, *, without: Collection[str] = ()) -> dict[str, tuple[object, ...]]:
    """Return for each name in a folder what it is: kind and permissions, inode, size, times of change, content.

    Nothing below the names `without` is looked at.
    """
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status, relative = path.lstat(), path.relative_to(folder)
        if not set(relative.parts).isdisjoint(without):
            continue
        content: object = None
        if stat.S_ISREG(status.st_mode) and status.st_size < 1 << 30:
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = path.readlink()
        found[f"./{relative}"] = (
            status.st_mode, status.st_ino, status.st_nlink, status.st_uid, status.st_gid,
            status.st_size, status.st_mtime_ns, status.st_ctime_ns, content,
        )  # fmt: skip
    return found
