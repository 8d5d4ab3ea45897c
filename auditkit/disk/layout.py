"""Where everything lies inside a trail's directory, under which names, and with which permission bits.

Names are made of numbers, dates and digests only, and of the checked names of consumers: nothing from an event ever
becomes part of a path.  What a folder or the catalog names is taken for ours only where it matches the pattern of the
names made here: other names in a folder are not looked at and never removed, one in the catalog is a `CorruptionError`.
"""

import re
from pathlib import Path
from typing import Literal

from msgspec import Struct

from auditkit.disk.inside import is_there, names_in
from auditkit.errors import CorruptionError, InvalidArgumentError, shorten

Group = Literal["read", "write"]

TEMPORARY_SUFFIX = ".tmp"
NEW_SEGMENT = f"new{TEMPORARY_SUFFIX}"
"""The name of a segment that is being written, in the folder of its partition."""

_SEQ = "[0-9]{20}"
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_QUEUE_FILE = re.compile(rf"({_SEQ})\.wal")
_PARTITION = re.compile(rf"[0-9]{{4}}-[0-9]{{2}}|{_DAY}(?:T[0-9]{{2}})?")
_SEGMENT = re.compile(rf"{_SEQ}-{_SEQ}-[0-9a-f]{{16}}\.arrow")
_ROLLUP = re.compile(r"([a-z0-9_-]{1,64})/([0-9]{4}(?:-[0-9]{2}){0,2}\.[0-9]{1,18}\.zarr)")
_LETTERS = re.compile(rf"({_DAY})\.jsonl")
_CONSUMER = re.compile(r"[a-z0-9_-]{1,64}")
_MOST_SEQ = (1 << 63) - 1


class Modes(Struct, frozen=True, kw_only=True):
    """Permission bits of a trail's directories and files."""

    directory: int
    file: int

    @property
    def lock(self) -> int:
        """The bits of a lock's file: who may only read a trail cannot hold its locks, and so cannot stop its writers."""
        return self.file if self.file & 0o020 else self.file & 0o600


def modes_for(group: str | None) -> Modes:
    """Return the bits for a private trail (`None`), one the group reads, or one the group writes."""
    if group is None:
        return Modes(directory=0o700, file=0o600)
    if group == "read":
        return Modes(directory=0o750, file=0o640)
    if group == "write":
        return Modes(directory=0o2770, file=0o660)
    raise InvalidArgumentError("group", group, "unknown sharing", expected="None, 'read' or 'write'")


class Layout(Struct, frozen=True):
    """The paths of one trail."""

    root: Path

    @property
    def catalog(self) -> Path:
        """The SQLite database whose transactions are the commit points."""
        return self.root / "catalog.sqlite"

    @property
    def queue_lock(self) -> Path:
        """Held while bytes are added to the queue."""
        return self.root / "queue.lock"

    @property
    def maint_lock(self) -> Path:
        """Held while segments are written or removed; taken before `queue_lock`."""
        return self.root / "maint.lock"

    @property
    def queue(self) -> Path:
        """The folder of queue files."""
        return self.root / "queue"

    @property
    def segments(self) -> Path:
        """The folder of partition folders."""
        return self.root / "segments"

    @property
    def replaced(self) -> Path:
        """The folder of segments that compaction replaced, for readers that planned with them; made by the first."""
        return self.root / "replaced"

    def segment_file(self, path: str) -> Path:
        """Return where the segment lies that the catalog names by `path`, relative to `segments`."""
        return self.segments / self._segment_name(path)

    def replaced_file(self, path: str) -> Path:
        """Return where a segment that lay at `path` in `segments` lies once it is replaced."""
        return self.replaced / self._segment_name(path).name

    def _segment_name(self, path: str) -> Path:
        partition, _, name = path.partition("/")
        if not (_PARTITION.fullmatch(partition) and _SEGMENT.fullmatch(name)):
            reason = f"names a segment by a path that is none (found {shorten(path)})"
            raise CorruptionError(self.catalog, offset=None, reason=reason)
        return Path(partition, name)

    def segment_files(self) -> list[str]:
        """Return the paths of all segments that lie in `segments`, and of those that are being written."""
        return [
            f"{partition}/{name}"
            for partition in names_in(self.segments, self.root)
            if _PARTITION.fullmatch(partition)
            for name in names_in(self.segments / partition, self.root)
            if _SEGMENT.fullmatch(name) or name == NEW_SEGMENT
        ]

    def replaced_files(self) -> list[Path]:
        """Return the segments that lie in `replaced`."""
        if not is_there(self.replaced):
            return []
        names = names_in(self.replaced, self.root)
        return [self.replaced / name for name in names if _SEGMENT.fullmatch(name)]

    @property
    def rollups(self) -> Path:
        """The folder of the tiers' folders; made by the first rollup."""
        return self.root / "rollups"

    def rollup_store(self, path: str) -> Path:
        """Return where the Zarr store lies that the catalog names by `path`, relative to `rollups`."""
        match = _ROLLUP.fullmatch(path)
        if match is None:
            reason = f"names a rollup by a path that is none (found {shorten(path)})"
            raise CorruptionError(self.catalog, offset=None, reason=reason)
        return self.rollups / match[1] / match[2]

    def rollup_stores(self) -> list[str]:
        """Return the paths of all stores that lie in `rollups`, and of those that are being written or removed."""
        if not is_there(self.rollups):
            return []
        return [
            f"{tier}/{name}"
            for tier in names_in(self.rollups, self.root)
            if is_tier_name(tier)
            for name in names_in(self.rollups / tier, self.root)
            if _ROLLUP.fullmatch(f"{tier}/{name.removesuffix(TEMPORARY_SUFFIX)}")
        ]

    @property
    def dead_letters(self) -> Path:
        """The folder of inputs that could not become events."""
        return self.root / "dead-letters"

    @property
    def retry_lock(self) -> Path:
        """Held while dead letters are retried; made by the first retry."""
        return self.dead_letters / "retry.lock"

    def letter_files(self) -> list[tuple[str, Path]]:
        """Return the date of each day with dead letters and its file, oldest first."""
        if not is_there(self.dead_letters):  # Git, for one, keeps no empty folders
            return []
        found = map(_LETTERS.fullmatch, names_in(self.dead_letters, self.root))
        return [(match[1], self.dead_letters / match[0]) for match in found if match]

    @property
    def consumers(self) -> Path:
        """The folder of what consumers remember; made by the first of them."""
        return self.root / "consumers"

    def consumer_file(self, name: str) -> Path:
        """Return the file of a consumer whose name was checked."""
        return self.consumers / f"{name}.jsonl"

    def consumer_files(self) -> list[tuple[str, Path]]:
        """Return the name of each consumer and its file, by name."""
        if not is_there(self.consumers):
            return []
        names = [name for name in names_in(self.consumers, self.root) if name.endswith(".jsonl")]
        found = [(name.removesuffix(".jsonl"), self.consumers / name) for name in names]
        return [(name, path) for name, path in found if is_consumer_name(name)]

    def directories(self) -> tuple[Path, ...]:
        """Return every folder that a new trail starts with, outermost first."""
        return (self.root, self.queue, self.segments, self.dead_letters)

    def queue_file(self, first_seq: int) -> Path:
        """Return the queue file that starts at `first_seq`."""
        return self.queue / f"{first_seq:020}.wal"

    def queue_files(self) -> list[int]:
        """Return the first seq of every queue file, ascending."""
        found = [
            int(match[1]) for match in map(_QUEUE_FILE.fullmatch, names_in(self.queue, self.root)) if match
        ]
        return [seq for seq in found if seq <= _MOST_SEQ]

    def segment_name(self, partition: str, first_seq: int, last_seq: int, sha256: bytes) -> str:
        """Return a segment's path relative to `segments`, as the catalog keeps it."""
        return f"{partition}/{first_seq:020}-{last_seq:020}-{sha256.hex()[:16]}.arrow"


def is_consumer_name(name: str) -> bool:
    """Return whether a consumer may have this name, which becomes a file's."""
    return _CONSUMER.fullmatch(name) is not None


def is_tier_name(name: str) -> bool:
    """Return whether a tier may have this name, which becomes a folder's."""
    return _CONSUMER.fullmatch(name) is not None
