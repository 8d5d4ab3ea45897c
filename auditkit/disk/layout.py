"""Where everything lies inside a trail's directory, and with which permission bits.

Names are made of numbers, dates and digests only, and of the checked names of consumers: nothing from an event ever
becomes part of a path.
"""

import re
from pathlib import Path
from typing import Literal

from msgspec import Struct

Group = Literal["read", "write"]

_QUEUE_FILE = re.compile(r"(\d{20})\.wal")
TEMPORARY_SUFFIX = ".tmp"


class Modes(Struct, frozen=True, kw_only=True):
    """Permission bits of a trail's directories and files."""

    directory: int
    file: int


def modes_for(group: str | None) -> Modes:
    """Return the bits for a private trail (`None`), one the group reads, or one the group writes."""
    if group is None:
        return Modes(directory=0o700, file=0o600)
    if group == "read":
        return Modes(directory=0o750, file=0o640)
    if group == "write":
        return Modes(directory=0o2770, file=0o660)
    raise ValueError(f"group: unknown sharing (expected None, 'read' or 'write', found {group!r})")


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

    def replaced_file(self, path: str) -> Path:
        """Return where a segment that lay at `path` in `segments` lies once it is replaced."""
        return self.replaced / Path(path).name

    @property
    def dead_letters(self) -> Path:
        """The folder of inputs that could not become events."""
        return self.root / "dead-letters"

    @property
    def retry_lock(self) -> Path:
        """Held while dead letters are retried; made by the first retry."""
        return self.dead_letters / "retry.lock"

    @property
    def consumers(self) -> Path:
        """The folder of what consumers remember; made by the first of them."""
        return self.root / "consumers"

    def consumer_file(self, name: str) -> Path:
        """Return the file of a consumer whose name was checked."""
        return self.consumers / f"{name}.jsonl"

    def directories(self) -> tuple[Path, ...]:
        """Return every folder that a new trail starts with, outermost first."""
        return (self.root, self.queue, self.segments, self.dead_letters)

    def queue_file(self, first_seq: int) -> Path:
        """Return the queue file that starts at `first_seq`."""
        return self.queue / f"{first_seq:020}.wal"

    def queue_files(self) -> list[int]:
        """Return the first seq of every queue file, ascending."""
        return sorted(int(m[1]) for p in self.queue.iterdir() if (m := _QUEUE_FILE.fullmatch(p.name)))

    def segment_name(self, partition: str, first_seq: int, last_seq: int, sha256: bytes) -> str:
        """Return a segment's path relative to `segments`, as the catalog keeps it."""
        return f"{partition}/{first_seq:020}-{last_seq:020}-{sha256.hex()[:16]}.arrow"
