"""Opening what lies in a trail's folder: the one way to its files and folders.

A trail may come from a stranger, and a folder may be shared.  What is opened lies inside the folder and is a regular
file: folders are entered one by one through descriptors, no link is followed, nothing waits for the other end of a FIFO.
Links that lead *to* the folder are its administrator's business and are followed.

What is there and is something else is a `CorruptionError` that names it.  What is missing is a `FileNotFoundError`.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from auditkit.errors import CorruptionError

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_NO_SUCH_THING = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR, errno.ENODEV, errno.EOPNOTSUPP)
"""What opening raises where a link, a socket, a device or a folder lies under the name of a file."""
_PIECE_BYTES = 1 << 20
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@contextmanager
def parent_of(path: Path, root: Path | None) -> Iterator[int]:
    """Give a descriptor of the folder that holds `path`, entered from the trail's folder `root` without links.

    Of a path that is not inside `root`, or without one, the folder is opened as the path says.
    """
    fd = _enter(path, root)
    try:
        yield fd
    finally:
        os.close(fd)


def _enter(path: Path, root: Path | None) -> int:
    """Return the descriptor that `parent_of` gives."""
    text, start = str(path), str(root)  # pathlib takes longer to compare paths than Linux to open them
    if root is None or not text.startswith(f"{start}/"):
        return os.open(path.parent, _FOLDER)
    between = text[len(start) + 1 :].split("/")[:-1]
    fd = os.open(start, _FOLDER)
    for part in between:
        above = fd
        try:
            if part == "..":
                raise CorruptionError(path, offset=None, reason="a name that leads out of its folder")
            fd = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
        except OSError as exc:
            raise _meaning(exc, path, part, above, wanted="folder") from exc
        finally:
            os.close(above)
    return fd


def open_file(path: Path, root: Path | None, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open a regular file inside the trail's folder `root`, and return its descriptor.

    A file that is to be written to must have no other name: bytes written to it would show up under that one.
    """
    folder = _enter(path, root)
    try:
        fd = os.open(path.name, flags | _FILE, mode, dir_fd=folder)
    except OSError as exc:
        raise _meaning(exc, path, path.name, folder, wanted="file") from exc
    finally:
        os.close(folder)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(path, status.st_mode, wanted="file")
        if status.st_nlink > 1 and flags & (os.O_WRONLY | os.O_RDWR):
            error = CorruptionError(
                path, offset=None, reason=f"has another name (expected 1, found {status.st_nlink})"
            )
            error.add_note("a copy with hard links is no copy: make one with `auditkit backup`")
            raise error
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_folder(path: Path, root: Path | None) -> int:
    """Open a folder inside the trail's folder `root`, or that one itself, and return a descriptor to list or sync."""
    if root is None or not str(path).startswith(f"{root}/"):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with parent_of(path, root) as parent:
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(path.name, flags, dir_fd=parent)
        except OSError as exc:
            raise _meaning(exc, path, path.name, parent, wanted="folder") from exc


def names_in(path: Path, root: Path) -> list[str]:
    """Return the names in a folder inside the trail's folder `root`, in order; what they are is not looked at."""
    fd = open_folder(path, root)
    try:
        return sorted(os.listdir(fd))  # noqa: PTH208 -- of a descriptor
    finally:
        os.close(fd)


def read_file(path: Path, root: Path, *, most: int) -> bytes:
    """Return the bytes of a file inside the trail's folder `root`; more than `most` are a `CorruptionError`."""
    fd = open_file(path, root)
    try:
        return read_open(fd, path, most=most)
    finally:
        os.close(fd)


def read_open(fd: int, path: Path, *, most: int) -> bytes:
    """Return the bytes of an open file; more than `most` are a `CorruptionError`, before any is read."""
    size = os.fstat(fd).st_size
    if size > most:
        reason = f"too large (expected at most {most} bytes, found {size})"
        raise CorruptionError(path, offset=most, reason=reason)
    pieces, at = [], 0
    while at < size and (piece := os.pread(fd, min(size - at, _PIECE_BYTES), at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def is_there(path: Path) -> bool:
    """Return whether something has this name, a link that leads nowhere as well."""
    return os.path.lexists(path)


def _meaning(error: OSError, path: Path, name: str, folder: int, *, wanted: str) -> Exception:
    """Return what to raise for an error of opening a name in a folder: most mean what they say."""
    error.filename = str(path)
    if error.errno not in _NO_SUCH_THING:
        return error
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError:
        return error
    return _not_regular(path, mode, wanted=wanted)


def _not_regular(path: Path, mode: int, *, wanted: str) -> CorruptionError:
    found = _KINDS.get(stat.S_IFMT(mode), "a file")
    return CorruptionError(path, offset=None, reason=f"expected a {wanted} of its own, found {found}")
