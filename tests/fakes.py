"""Stand-ins for the two things auditkit takes from outside: a clock, and a disk that fails on purpose."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from auditkit.disk.durable import PosixDisk
from auditkit.timerange import to_us


class ManualClock:
    """A clock that moves only when told."""

    def __init__(self, start: str = "2026-11-24T08:00:00+00:00") -> None:
        self.us = to_us(datetime.fromisoformat(start))

    def now_us(self) -> int:
        """Return the moment the clock stands at."""
        return self.us

    def advance(self, **units: float) -> None:
        """Move by a `timedelta`, backwards too."""
        self.us += timedelta(**units) // timedelta(microseconds=1)


def interrupting(*, times: int = 1) -> Callable[[], None]:
    """Return what raises `KeyboardInterrupt` the first times it is called."""
    left = iter(range(times))

    def interrupt() -> None:
        for _ in left:
            raise KeyboardInterrupt

    return interrupt


class FailingDisk(PosixDisk):
    """A disk whose operations can be made to fail: `fail["sync_data"] = OSError(...)`."""

    def __init__(self) -> None:
        self.fail: dict[str, BaseException] = {}
        self.before: dict[str, Callable[[], None]] = {}

    def _maybe(self, operation: str) -> None:
        if operation in self.before:
            self.before[operation]()
        if operation in self.fail:
            raise self.fail[operation]

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Fail or write."""
        self._maybe("write")
        super().write(fd, data, offset)

    def sync_data(self, fd: int) -> None:
        """Fail or sync."""
        self._maybe("sync_data")
        super().sync_data(fd)

    def sync(self, fd: int) -> None:
        """Fail or sync."""
        self._maybe("sync")
        super().sync(fd)

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        """Fail or lock."""
        self._maybe("lock")
        return super().lock(fd, shared=shared)

    def truncate(self, fd: int, size: int) -> None:
        """Fail or cut."""
        self._maybe("truncate")
        super().truncate(fd, size)

    def sync_directory(self, path: Path) -> None:
        """Fail or sync."""
        self._maybe("sync_directory")
        super().sync_directory(path)

    def rename(self, source: Path, target: Path) -> None:
        """Fail or rename."""
        self._maybe("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        """Fail or unlink."""
        self._maybe("unlink")
        super().unlink(path)
