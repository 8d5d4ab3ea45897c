"""Where one case takes place: the trail, and what lies outside it and must stay untouched."""

import os
import shutil
from pathlib import Path

from msgspec import Struct

CANARY = "CANARY-5e1f"
"""What no answer and no error may show."""


class Place(Struct, frozen=True):
    """The folder of one case."""

    folder: Path

    @property
    def trail(self) -> Path:
        """The forged trail."""
        return self.folder / "trail"

    @property
    def outside(self) -> Path:
        """What belongs to somebody else, and is watched."""
        return self.folder / "outside"

    @property
    def temporary(self) -> Path:
        """Where temporary files go."""
        return self.folder / "tmp"

    @property
    def working(self) -> Path:
        """The current folder: empty."""
        return self.folder / "cwd"

    @property
    def backup(self) -> Path:
        """Where copies go."""
        return self.folder / "backup"


def lay_canaries(place: Place, base: Path) -> None:
    """Lay out files that look as much as possible like those of a trail, and others."""
    place.outside.mkdir()
    (place.outside / "secret.txt").write_text(f"{CANARY}\n" * 100)
    (place.outside / "empty").mkdir()
    shutil.copytree(base, place.outside / "trail")
    for file in place.outside.rglob("*"):
        if file.is_file():
            os.utime(file, (1_000_000_000, 1_600_000_000))
