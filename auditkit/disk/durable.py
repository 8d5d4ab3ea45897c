"""The only place that writes, syncs, renames, truncates, unlinks and locks.

Everything above speaks to storage through `Disk`, so that a test can stand between auditkit and the operating
system and fail, tear or forget any single operation.  A failed sync is raised and never retried: the kernel may have
dropped the dirty pages, and would call the next sync a success (https://wiki.postgresql.org/wiki/Fsync_Errors).

What a verb raises is the operating system's `OSError`, unless it says otherwise.
"""

import errno
import fcntl
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from operator import methodcaller
from pathlib import Path
from typing import Any, Protocol

from auditkit.disk.holder import holder_of
from auditkit.disk.inside import open_file, open_folder, parent_of
from auditkit.errors import CorruptionError, LockedError, StorageError

_FIRST_RETRY_S = 0.00005
_LONGEST_RETRY_S = 0.001
_LONGEST_READ = 1 << 30


class Disk(Protocol):
    """What auditkit asks of storage.  Offsets and sizes are bytes; modes are permission bits.

    Nothing is durable before the sync that covers it: a file's bytes by `sync_data` or `sync`, names by
    `sync_directory`.  Until then a power cut leaves any part of it; another process sees all of it at once.
    """

    def open(self, path: Path, *, write: bool = False, create_mode: int | None = None) -> int:
        """Open `path` and return a descriptor; with `create_mode`, create it with exactly these permission bits.

        A created name is not durable yet.  Raises `FileExistsError` where `path` was to be created and is there, and
        `FileNotFoundError` where it was to be opened and is not.  If it raises, an empty file may have been created.
        """

    def close(self, fd: int) -> None:
        """Close a descriptor, which gives its lock back; it is closed also if this raises.  Nothing is synced."""

    def status(self, fd: int) -> os.stat_result:
        """Return what the operating system knows about an open file."""

    def size(self, fd: int) -> int:
        """Return the size of an open file.

        Cheaper than `status`, which also asks for the time of the last write: Linux then notes that of the next one
        more precisely, and the sync after it has to wait for that (multigrain timestamps, Linux 6.13).
        """

    def exists(self, path: Path) -> bool:
        """Return whether there is a file of this name, asking for nothing else."""

    def read(self, fd: int, count: int, offset: int) -> bytes:
        """Read up to `count` bytes from `offset`; fewer only at the end of the file."""

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of `data` at `offset`, not yet durable.  If it raises, any first part of it may be written."""

    def sync_data(self, fd: int) -> None:
        """Make the file's bytes and size durable.

        If it raises, any part of what was written since the last sync may be lost, whatever is read now; a second
        sync proves nothing.
        """

    def sync(self, fd: int) -> None:
        """Make the file's bytes, size and metadata durable.  If it raises, see `sync_data`."""

    def sync_directory(self, path: Path) -> None:
        """Make the names inside a directory durable.  If it raises, any of the changes since the last may be lost."""

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to `size` bytes, not yet durable.  If it raises, the file is as it was."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, in place of a file of that name, not yet durable.

        If it raises, both names are as they were.
        """

    def unlink(self, path: Path) -> None:
        """Remove a name, not yet durable; one that is gone already is no error.  If it raises, the name is there."""

    def make_directory(self, path: Path, mode: int) -> None:
        """Create a directory with exactly these permission bits unless it is there, not yet durable.

        If it raises, the directory may be there with fewer permission bits.
        """

    def remove_directory_if_empty(self, path: Path) -> None:
        """Remove a directory that holds nothing, not yet durable; one that holds something, or is gone, is no error."""

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        """Take the file's lock if that needs no waiting, and return whether it was taken.

        It belongs to the open descriptor: a forked child has it too, and the last close gives it back.
        """

    def unlock(self, fd: int) -> None:
        """Give the file's lock back."""


class PosixDisk:
    """`Disk` on a local POSIX file system, for the trail in the folder `root`.

    Inside that folder no link is followed, and only regular files are opened: see `disk.inside`.
    """

    root: Path | None = None

    def __init__(self, root: Path | None = None) -> None:
        self.root = root

    def open(self, path: Path, *, write: bool = False, create_mode: int | None = None) -> int:
        """See `Disk.open`."""
        flags = os.O_RDWR if write else os.O_RDONLY
        if create_mode is None:
            return open_file(path, self.root, flags)
        fd = open_file(path, self.root, flags | os.O_CREAT | os.O_EXCL, create_mode)
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
        fd = open_folder(path, self.root)
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
            with parent_of(source, self.root) as here, parent_of(target, self.root) as there:
                os.rename(source.name, target.name, src_dir_fd=here, dst_dir_fd=there)
        except OSError as exc:
            raise StorageError(exc.errno, exc.strerror, str(target)) from exc

    def unlink(self, path: Path) -> None:
        """See `Disk.unlink`."""
        try:
            with parent_of(path, self.root) as folder:
                os.unlink(path.name, dir_fd=folder)
        except FileNotFoundError:
            return
        except IsADirectoryError as exc:
            raise CorruptionError(
                path, offset=None, reason="expected a file of its own, found a folder"
            ) from exc

    def make_directory(self, path: Path, mode: int) -> None:
        """See `Disk.make_directory`."""
        with parent_of(path, self.root) as parent:
            try:
                os.mkdir(path.name, mode, dir_fd=parent)
            except FileExistsError:
                return
        fd = open_folder(path, self.root)
        try:
            os.fchmod(fd, mode)
        finally:
            os.close(fd)

    def remove_directory_if_empty(self, path: Path) -> None:
        """See `Disk.remove_directory_if_empty`."""
        try:
            with parent_of(path, self.root) as parent:
                os.rmdir(path.name, dir_fd=parent)
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


_is_owned: Callable[[Any], bool] = methodcaller("_is_owned")
"""Whether the calling thread holds an `RLock`, asked as conditions ask it."""


class FileLock:
    """A lock between threads and processes on a file that is never replaced; a holder's death frees it.

    One object is shared by the threads of a process.  The lock's file must be there.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._fd: int | None = None  # guarded by _threads
        # flock does not keep threads apart that share a descriptor.  This lock knows its owner, also where an
        # interrupt came before the call that took it had returned.
        self._threads = threading.RLock()
        self._give_up_at = inf  # set once

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread holds the lock, or an interrupt has left it on the way there."""
        return _is_owned(self._threads)

    def hurry(self, within_s: float) -> None:
        """Wait for other processes no longer than this, from now on and all threads and calls together."""
        self._give_up_at = time.monotonic() + within_s

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock if that needs no waiting, and return whether it was taken."""
        if _is_owned(self._threads) or not self._threads.acquire(blocking=False):
            return False
        taken = False
        try:
            taken = self._try_file(shared=shared)
        finally:
            if not taken:
                self._threads.release()
        return taken

    def acquire(self, *, timeout_s: float) -> None:
        """Take the lock, waiting up to `timeout_s` seconds for its holder; then `LockedError`, and it is not taken.

        A thread that an interrupt has left with the lock has it already.
        """
        deadline = time.monotonic() + timeout_s
        try:
            if not _is_owned(self._threads) and not self._threads.acquire(timeout=timeout_s):
                raise LockedError(f"{self._path}: held by another thread for more than {timeout_s:g} s")
            pause = _FIRST_RETRY_S
            if self._fd is None:
                self._fd = self._disk.open(self._path, write=True)
            while not self._disk.lock(self._fd):
                if time.monotonic() > min(deadline, self._give_up_at):
                    holder = holder_of(self._path)
                    raise LockedError(f"{self._path}: held by {holder} for more than {timeout_s:g} s")
                time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 -- spreads the waiters, no secret
                pause = min(pause * 1.5, _LONGEST_RETRY_S)
        except BaseException:
            if _is_owned(self._threads):
                self._threads.release()
            raise

    def release(self) -> None:
        """Give the lock back, where it is held.

        If it raises, other threads have it back, other processes may not.
        """
        if not _is_owned(self._threads):
            return
        try:
            if self._fd is not None:
                self._disk.unlock(self._fd)
        finally:
            self._threads.release()

    def _try_file(self, *, shared: bool) -> bool:
        if self._fd is None:
            # A shared lock needs no write access, so a reader of another user's trail can take it.
            self._fd = self._disk.open(self._path, write=not shared)
        return self._disk.lock(self._fd, shared=shared)

    @contextmanager
    def held(self, *, timeout_s: float) -> Iterator[None]:
        """Hold the lock inside the block; raises `LockedError` as `acquire` does."""
        try:
            self.acquire(timeout_s=timeout_s)
            yield
        finally:
            self.release()

    def abandon(self) -> None:
        """Let go in a forked child: the lock, if it is held, stays with the parent."""
        self._threads = threading.RLock()
        self.close()

    def close(self) -> None:
        """Close the lock's file, which gives the lock back."""
        fd, self._fd = self._fd, None  # first: an interrupt must not make one number be closed twice
        if fd is not None:
            self._disk.close(fd)


def write_temporary(disk: Disk, path: Path, data: bytes, mode: int) -> None:
    """Write a new file and sync it; raises `FileExistsError` where there is one.

    On return its bytes are durable, its name is not: until `publish` gives it its final name no reader opens it.  If
    it raises, a leftover may remain under that name, and nothing else has changed.
    """
    fd = disk.open(path, write=True, create_mode=mode)
    try:
        disk.write(fd, data, 0)
        disk.sync(fd)
    finally:
        disk.close(fd)


def publish(disk: Disk, source: Path, target: Path) -> None:
    """Give a synced file its final name and make that name durable.

    On return `target` is durable and `source` is gone.  If it raises, the file may have either name, now and after a
    power cut.
    """
    disk.rename(source, target)
    disk.sync_directory(target.parent)


def write_published(disk: Disk, path: Path, data: bytes, mode: int) -> None:
    """Write a file that appears under its name whole.

    On return it is durable, in place of a file of that name.  If it raises, `path` is as it was or has all of `data`,
    now and after a power cut; a `StorageError` names `path`.  A leftover with the ending `.tmp` remains only where it
    cannot be removed either.
    """
    temporary = path.with_name(path.name + ".tmp")
    disk.unlink(temporary)
    try:
        write_temporary(disk, temporary, data, mode)
    except StorageError as exc:
        with suppress(OSError):  # a full disk gets its room back
            disk.unlink(temporary)
        raise StorageError(exc.errno, exc.strerror, str(path)) from exc
    publish(disk, temporary, path)
