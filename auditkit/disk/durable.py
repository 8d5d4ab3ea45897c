"""The only place that syncs, renames, truncates, unlinks and locks.

Everything above speaks to storage through `Disk`, so that a test can stand between auditkit and the operating
system and fail, tear or forget any single operation.  A failed sync is reported and never retried: after it the
kernel may have dropped the dirty pages and will call the next sync a success.
"""

import errno
import fcntl
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from auditkit.errors import LockedError, StorageError

_FIRST_RETRY_S = 0.00005
_LONGEST_RETRY_S = 0.001
_LONGEST_READ = 1 << 30


class Disk(Protocol):
    """What auditkit asks of storage.  Positions and sizes are bytes; modes are permission bits."""

    def open(self, path: Path, *, write: bool = False, create_mode: int | None = None) -> int:
        """Open `path` and return a descriptor; with `create_mode`, create it exclusively with these bits."""

    def close(self, fd: int) -> None:
        """Close a descriptor."""

    def status(self, fd: int) -> os.stat_result:
        """Return what the operating system knows about an open file."""

    def size(self, fd: int) -> int:
        """Return the size of an open file.

        Who asks for `status` also asks for the time of the last write; Linux then notes that of the next one more
        precisely, which the sync after it has to wait for.
        """

    def exists(self, path: Path) -> bool:
        """Say whether there is a file of this name, asking for nothing else."""

    def read(self, fd: int, count: int, offset: int) -> bytes:
        """Read up to `count` bytes from `offset`; fewer only at the end of the file."""

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`, not yet durable."""

    def sync_data(self, fd: int) -> None:
        """Make the file's bytes and size durable."""

    def sync(self, fd: int) -> None:
        """Make the file's bytes, size and metadata durable."""

    def sync_directory(self, path: Path) -> None:
        """Make the names inside a directory durable."""

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to `size` bytes, not yet durable."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file its final name, not yet durable."""

    def unlink(self, path: Path) -> None:
        """Remove a name; a name that is gone already is fine."""

    def make_directory(self, path: Path, mode: int) -> None:
        """Create a directory with exactly these permission bits unless it is there."""

    def remove_directory_if_empty(self, path: Path) -> None:
        """Remove a directory that holds nothing; one that does, or is gone, stays as it is."""

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        """Take the file's lock if that needs no waiting, and say whether it was taken."""

    def unlock(self, fd: int) -> None:
        """Give the file's lock back."""


class PosixDisk:
    """`Disk` on a local POSIX file system."""

    def open(self, path: Path, *, write: bool = False, create_mode: int | None = None) -> int:
        """See `Disk.open`."""
        flags = os.O_CLOEXEC | (os.O_RDWR if write else os.O_RDONLY)
        if create_mode is None:
            return os.open(path, flags)
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, create_mode)
        if os.fstat(fd).st_mode & 0o7777 != create_mode:  # the umask took bits away
            os.fchmod(fd, create_mode)
        return fd

    def close(self, fd: int) -> None:
        """See `Disk.close`."""
        os.close(fd)

    def status(self, fd: int) -> os.stat_result:
        """See `Disk.status`."""
        return os.fstat(fd)

    def size(self, fd: int) -> int:
        """See `Disk.size`."""
        return os.lseek(fd, 0, os.SEEK_END)

    def exists(self, path: Path) -> bool:
        """See `Disk.exists`."""
        return os.access(path, os.F_OK)

    def read(self, fd: int, count: int, offset: int) -> bytes:
        """See `Disk.read`."""
        data = os.pread(fd, min(count, _LONGEST_READ), offset)
        while len(data) < count:
            more = os.pread(fd, min(count - len(data), _LONGEST_READ), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """See `Disk.write`."""
        try:
            written = os.pwrite(fd, data, offset)
            while written < len(data):
                more = os.pwrite(fd, data[written:], offset + written)
                if more == 0:
                    raise OSError(errno.ENOSPC, "write made no progress")
                written += more
        except OSError as exc:
            raise _refused(exc, fd) from exc

    def sync_data(self, fd: int) -> None:
        """See `Disk.sync_data`."""
        try:
            os.fdatasync(fd)
        except OSError as exc:
            raise _refused(exc, fd) from exc

    def sync(self, fd: int) -> None:
        """See `Disk.sync`."""
        try:
            os.fsync(fd)
        except OSError as exc:
            raise _refused(exc, fd) from exc

    def sync_directory(self, path: Path) -> None:
        """See `Disk.sync_directory`."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def truncate(self, fd: int, size: int) -> None:
        """See `Disk.truncate`."""
        try:
            os.ftruncate(fd, size)
        except OSError as exc:
            raise _refused(exc, fd) from exc

    def rename(self, source: Path, target: Path) -> None:
        """See `Disk.rename`."""
        try:
            os.rename(source, target)
        except OSError as exc:
            raise StorageError(exc.errno, exc.strerror, str(target)) from exc

    def unlink(self, path: Path) -> None:
        """See `Disk.unlink`."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            return

    def make_directory(self, path: Path, mode: int) -> None:
        """See `Disk.make_directory`."""
        try:
            path.mkdir(mode=mode)
        except FileExistsError:
            return
        path.chmod(mode)

    def remove_directory_if_empty(self, path: Path) -> None:
        """See `Disk.remove_directory_if_empty`."""
        try:
            path.rmdir()
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        """See `Disk.lock`."""
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self, fd: int) -> None:
        """See `Disk.unlock`."""
        fcntl.flock(fd, fcntl.LOCK_UN)


def _refused(error: OSError, fd: int) -> StorageError:
    """Return the error for what storage refused to do with an open file, its path in it."""
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # no /proc, or no such descriptor
        path = f"descriptor {fd}"
    return StorageError(error.errno, error.strerror, path)


class FileLock:
    """A lock between threads and processes on a file that is never replaced; a holder's death frees it."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._fd: int | None = None
        self._threads = threading.Lock()  # flock does not keep threads apart that share a descriptor

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock if that needs no waiting, and say whether it was taken."""
        if not self._threads.acquire(blocking=False):
            return False
        taken = False
        try:
            taken = self._try_file(shared=shared)
        finally:
            if not taken:
                self._threads.release()
        return taken

    def acquire(self, *, timeout_s: float) -> None:
        """Take the lock, waiting up to `timeout_s` seconds for others; then `LockedError`."""
        deadline = time.monotonic() + timeout_s
        if not self._threads.acquire(timeout=timeout_s):
            raise LockedError(f"{self._path}: held by another thread for more than {timeout_s:g} s")
        try:
            pause = _FIRST_RETRY_S
            while not self._try_file(shared=False):
                if time.monotonic() > deadline:
                    raise LockedError(f"{self._path}: held by another process for more than {timeout_s:g} s")
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 -- spreads the waiters, no secret
                pause = min(pause * 1.5, _LONGEST_RETRY_S)
        except BaseException:
            self._threads.release()
            raise

    def release(self) -> None:
        """Give the lock back."""
        try:
            if self._fd is not None:
                self._disk.unlock(self._fd)
        finally:
            self._threads.release()

    def _try_file(self, *, shared: bool) -> bool:
        if self._fd is None:
            # A shared lock needs no write access, so a reader of somebody else's trail can take it.
            self._fd = self._disk.open(self._path, write=not shared)
        return self._disk.lock(self._fd, shared=shared)

    @contextmanager
    def held(self, *, timeout_s: float) -> Iterator[None]:
        """Hold the lock inside the block."""
        self.acquire(timeout_s=timeout_s)
        try:
            yield
        finally:
            self.release()

    def abandon(self) -> None:
        """Let go in a forked child: the lock, if it is held, stays with the parent."""
        self._threads = threading.Lock()
        self.close()

    def close(self) -> None:
        """Close the lock's file, which gives the lock back."""
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None


def write_temporary(disk: Disk, path: Path, data: bytes, mode: int) -> None:
    """Write a new file and sync it.

    On return its bytes are durable under a name that nobody reads yet.  If it raises, a leftover may remain
    under that name and nothing else has changed.
    """
    fd = disk.open(path, write=True, create_mode=mode)
    try:
        disk.write(fd, data, 0)
        disk.sync(fd)
    finally:
        disk.close(fd)


def publish(disk: Disk, source: Path, target: Path) -> None:
    """Give a synced file its final name and make that name durable."""
    disk.rename(source, target)
    disk.sync_directory(target.parent)


def write_published(disk: Disk, path: Path, data: bytes, mode: int) -> None:
    """Write a file that appears under its name whole and durable, or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    disk.unlink(temporary)
    write_temporary(disk, temporary, data, mode)
    publish(disk, temporary, path)
