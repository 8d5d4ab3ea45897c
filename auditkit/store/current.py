"""The catalog as it is now, parsed again only where the file may have changed.

A file's stamps tell of every change but one: file systems stamp with a clock that ticks, and what changes twice within
a tick may look the same after both.  So a reading is remembered only of a file that had been left alone for longer than
any tick when it was read.
"""

import time
from collections.abc import Callable
from pathlib import Path

from auditkit.store.catalog import read_catalog
from auditkit.store.records import CatalogView

_TICK_NS = 2_500_000_000
"""Longer than the coarsest stamps of a file system, two seconds."""

_Stamp = tuple[int, int, int, int, int]


class CurrentCatalog:
    """Reads one trail's catalog."""

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._now_ns = now_ns
        self._known: tuple[_Stamp, CatalogView] | None = None

    def read(self) -> CatalogView:
        """Return everything the catalog says, as `read_catalog` does; the same object where nothing has changed."""
        known, stamp = self._known, self._stamp()
        if known is not None and known[0] == stamp:
            return known[1]
        now_ns = self._now_ns()
        view = read_catalog(self._path)
        settled = stamp is not None and max(stamp[-2:]) < now_ns - _TICK_NS
        self._known = (stamp, view) if stamp is not None and settled else None
        return view

    def _stamp(self) -> _Stamp | None:
        try:
            status = self._path.stat()
        except OSError:  # reading it says what is wrong
            return None
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
