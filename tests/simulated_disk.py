"""A disk that remembers what storage would hold: every operation can be the last one, be torn, or fail.

Operations run on a real folder, which plays the page cache: what a living process sees.  Beside it the disk keeps
what storage is sure of: bytes that a sync of their file covered, and names that a sync of their folder covered.
After a crash an *image* of the folder is written that keeps all of the sure and some of the unsure.

Rules, on the harsh side of what file systems do: a sync of a file says nothing about its name; unsynced writes
and names may survive in any combination, writes by sectors; a failed sync forgets the writes it was asked
for, so that a later successful sync does not bring them back.  Renames are atomic.  SQLite does not write
through `Disk`: its database is taken into an image as it is, so a catalog transaction lies between two
operations, before the one and after the other.
"""

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from auditkit.disk.durable import PosixDisk

Kind = Literal["before", "applied", "torn", "failed"]
Keep = Literal["lost", "kept", "torn", "first", "mixed 0", "mixed 1", "mixed 2"]
SECTOR = 512
MUTATING = frozenset(
    (
        "create", "write", "sync_data", "sync", "sync_directory", "truncate", "rename", "unlink",
        "make_directory", "remove_directory_if_empty",
    )
)  # fmt: skip


class Crash(BaseException):
    """The machine has stopped: nothing reaches the disk any more."""


@dataclass(frozen=True)
class Fault:
    """What happens at operation number `at` (from 0); `error` is the errno of a failed one."""

    at: int
    kind: Kind
    error: int = 0


@dataclass(frozen=True)
class Change:
    """One change of a file's bytes: `data` at `offset`, or with `data` None a cut to `offset` bytes."""

    offset: int
    data: bytes | None


@dataclass(frozen=True)
class Naming:
    """One change of a folder's names, atomic: what goes, and what comes."""

    removes: str
    adds: str | None = None
    node: "Node | Folder | None" = None


@dataclass
class Node:
    """A file: the bytes that storage is sure of, and what was asked since the last sync."""

    durable: bytes
    pending: list[Change] = field(default_factory=list)


@dataclass
class Folder:
    """A folder: the names that storage is sure of, and what was asked since the last sync."""

    durable: dict[str, "Node | Folder"] = field(default_factory=dict)
    pending: list[Naming] = field(default_factory=list)


def changed(content: bytes, changes: Sequence[Change]) -> bytes:
    """Return what a file holds after some changes."""
    data = bytearray(content)
    for change in changes:
        end = change.offset + len(change.data or b"")
        data.extend(bytes(max(0, end - len(data))))
        if change.data is None:
            del data[change.offset :]
        else:
            data[change.offset : end] = change.data
    return bytes(data)


class SimulatedDisk(PosixDisk):
    """`Disk` over the folder `root`, with faults; `log` names every operation it was asked for."""

    root: Path

    def __init__(self, root: Path, *faults: Fault) -> None:
        self.root = root
        self.faults = {fault.at: fault for fault in faults}
        self.log: list[str] = []
        self.crashed = False
        self.failed = False
        self._folders = {root: Folder()}
        self._nodes: dict[Path, Node] = {}
        self._open: dict[int, Node] = {}
        self._learn(root)

    def _learn(self, folder: Path) -> None:
        """Take everything that is there as durable."""
        for path in sorted(folder.iterdir()):
            if path.name.startswith("catalog."):
                continue
            node: Node | Folder
            if path.is_dir():
                node = self._folders[path] = Folder()
                self._learn(path)
            else:
                node = self._nodes[path] = Node(path.read_bytes())
            self._folders[folder].durable[path.name] = node

    # The fault

    def _reached(self, operation: str, subject: str) -> Fault | None:
        """Count an operation; stop where that is due, or say what is to happen at it."""
        if self.crashed:
            raise Crash
        fault = self.faults.get(len(self.log))
        self.log.append(f"{operation} {subject}")
        if fault is None:
            return None
        if fault.kind == "before":
            self._stop()
        self.failed = self.failed or fault.kind == "failed"
        return fault

    def _stop(self) -> None:
        self.crashed = True
        raise Crash

    def _end(self, fault: Fault | None) -> None:
        if fault is not None and fault.kind != "failed":
            self._stop()

    def _refuse(self, fault: Fault | None) -> None:
        if fault is not None and fault.kind == "failed":
            raise OSError(fault.error, f"injected: {os.strerror(fault.error)}")

    def _subject(self, path: Path) -> str:
        return str(path.relative_to(self.root.parent)) if path != self.root.parent else "."

    def _name(self, path: Path, node: Node | Folder) -> None:
        self._folders[path.parent].pending.append(Naming(path.name, path.name, node))

    # The operations

    def open(self, path: Path, *, write: bool = False, create_mode: int | None = None) -> int:
        """Open or create."""
        fault = self._reached("open" if create_mode is None else "create", self._subject(path))
        self._refuse(fault)
        fd = super().open(path, write=write, create_mode=create_mode)
        if create_mode is not None:
            self._nodes[path] = Node(b"")
            self._name(path, self._nodes[path])
        self._open[fd] = self._nodes[path]
        if fault is not None:
            super().close(fd)
        self._end(fault)
        return fd

    def close(self, fd: int) -> None:
        """Close, also after a crash: the descriptors are this process's own."""
        self._open.pop(fd, None)
        super().close(fd)

    def status(self, fd: int) -> os.stat_result:
        """Tell."""
        self._refuse(self._reached("status", ""))
        return super().status(fd)

    def read(self, fd: int, count: int, offset: int) -> bytes:
        """Read what a living process sees."""
        self._refuse(self._reached("read", ""))
        return super().read(fd, count, offset)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """Write; a torn write and a failed one leave their first half."""
        fault = self._reached("write", str(len(data)))
        part = data if fault is None or fault.kind == "applied" else data[: len(data) // 2]
        super().write(fd, part, offset)
        self._open[fd].pending.append(Change(offset, part))
        self._refuse(fault)
        self._end(fault)

    def _sync(self, operation: str, fd: int) -> None:
        fault = self._reached(operation, "")
        node = self._open[fd]
        if fault is None or fault.kind == "applied":
            node.durable = changed(node.durable, node.pending)
        if fault is None or fault.kind != "torn":
            node.pending = []
        self._refuse(fault)
        self._end(fault)

    def sync_data(self, fd: int) -> None:
        """Make durable; a failed sync forgets what was written, a torn one leaves it unsure."""
        self._sync("sync_data", fd)

    def sync(self, fd: int) -> None:
        """See `sync_data`."""
        self._sync("sync", fd)

    def sync_directory(self, path: Path) -> None:
        """Make names durable."""
        if path not in self._folders:
            return
        fault = self._reached("sync_directory", self._subject(path))
        self._refuse(fault)
        if fault is None or fault.kind != "torn":
            folder = self._folders[path]
            folder.durable = named(folder, folder.pending)
            folder.pending = []
        self._end(fault)

    def truncate(self, fd: int, size: int) -> None:
        """Cut."""
        fault = self._reached("truncate", str(size))
        self._refuse(fault)
        super().truncate(fd, size)
        self._open[fd].pending.append(Change(size, None))
        self._end(fault)

    def rename(self, source: Path, target: Path) -> None:
        """Rename; within a folder durable, if at all, with both names at once, between two with either alone."""
        fault = self._reached("rename", self._subject(target))
        self._refuse(fault)
        super().rename(source, target)
        moved = self._nodes.get(source) or self._folders.get(source)
        names: Sequence[dict[Path, Any]] = (self._nodes, self._folders)
        for known in names:
            for path in [path for path in known if path == source or source in path.parents]:
                known[target / path.relative_to(source)] = known.pop(path)
        if moved is not None:
            if source.parent == target.parent:
                self._folders[source.parent].pending.append(Naming(source.name, target.name, moved))
            else:
                self._folders[source.parent].pending.append(Naming(source.name))
                self._name(target, moved)
        self._end(fault)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        fault = self._reached("unlink", self._subject(path))
        self._refuse(fault)
        super().unlink(path)
        if self._nodes.pop(path, None) is not None:
            self._folders[path.parent].pending.append(Naming(path.name))
        self._end(fault)

    def make_directory(self, path: Path, mode: int) -> None:
        """Create a folder."""
        fault = self._reached("make_directory", self._subject(path))
        self._refuse(fault)
        super().make_directory(path, mode)
        if path not in self._folders:
            self._folders[path] = Folder()
            self._name(path, self._folders[path])
        self._end(fault)

    def remove_directory_if_empty(self, path: Path) -> None:
        """Remove a folder that holds nothing."""
        fault = self._reached("remove_directory_if_empty", self._subject(path))
        self._refuse(fault)
        super().remove_directory_if_empty(path)
        if not path.exists() and self._folders.pop(path, None) is not None:
            self._folders[path.parent].pending.append(Naming(path.name))
        self._end(fault)

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        """Take the lock."""
        self._refuse(self._reached("lock", ""))
        return super().lock(fd, shared=shared)

    # What storage holds

    def image(self, target: Path, keep: Keep) -> None:
        """Write what storage would hold after a crash now, with all, some or none of what it is not sure of."""
        target.mkdir()
        chance = random.Random(keep)
        self._write(self._folders[self.root], target, keep, chance)
        for path in self.root.rglob("catalog.*"):
            copy = target / path.relative_to(self.root)
            if copy.parent.is_dir():
                shutil.copyfile(path, copy)

    def _write(self, folder: Folder, target: Path, keep: Keep, chance: random.Random) -> None:
        for name, node in survived(folder, keep, chance).items():
            if isinstance(node, Folder):
                (target / name).mkdir()
                self._write(node, target / name, keep, chance)
            else:
                content = changed(node.durable, list(surviving(node, keep, chance)))
                (target / name).write_bytes(content)


def named(folder: Folder, changes: Sequence[Naming]) -> dict[str, Node | Folder]:
    """Return a folder's names after some changes."""
    names = dict(folder.durable)
    for change in changes:
        names.pop(change.removes, None)
        if change.adds is not None and change.node is not None:
            names = {name: node for name, node in names.items() if node is not change.node}
            names[change.adds] = change.node
    return names


def survived(folder: Folder, keep: Keep, chance: random.Random) -> dict[str, Node | Folder]:
    """Return the names that a crash leaves."""
    if keep.startswith("mixed"):
        return named(folder, [change for change in folder.pending if chance.random() < 0.5])
    return named(folder, folder.pending[: {"lost": 0, "first": 1}.get(keep, len(folder.pending))])


def surviving(node: Node, keep: Keep, chance: random.Random) -> Iterator[Change]:
    """Yield the changes of a file that a crash leaves, cut as the crash cuts them."""
    if keep == "lost":
        return
    if keep == "first":
        yield from node.pending[:1]
        return
    for position, change in enumerate(node.pending):
        if change.data is None:
            if not keep.startswith("mixed") or chance.random() < 0.5:
                yield change
        elif keep == "torn" and position == len(node.pending) - 1:
            yield Change(change.offset, change.data[: len(change.data) // 2])
        elif keep.startswith("mixed"):
            yield from _sectors(change.offset, change.data, chance)
        else:
            yield change


def _sectors(offset: int, data: bytes, chance: random.Random) -> Iterator[Change]:
    """Yield a random choice of the sectors of a write."""
    start = 0
    while start < len(data):
        end = min(len(data), start + SECTOR - (offset + start) % SECTOR)
        if chance.random() < 0.6:
            yield Change(offset + start, data[start:end])
        start = end
