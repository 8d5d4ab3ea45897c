"""The process that forges, as tests speak to it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SHARED_MEMORY = Path("/dev/shm")


class Forge:
    """The process that forges trails and has others open them; `accounts` are the forger's, the victim's and a group."""

    def __init__(self, folder: Path, *accounts: int) -> None:
        places = [str(folder / "base"), str(folder / "cases")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forge.driver", *places, *map(str, accounts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "RUST_BACKTRACE": "0"},
            cwd=Path(__file__).parents[2],
        )

    def run(self, name: str) -> dict[str, Any]:
        """Return what went wrong in a case, and how its steps ended."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(name).encode() + b"\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@contextmanager
def forging(*accounts: int) -> Iterator[Forge]:
    """Give a forge that works in memory, where there is a file system for that."""
    folder = Path(tempfile.mkdtemp(prefix="forge-", dir=_SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None))
    folder.chmod(0o777 if accounts else 0o700)
    forge = Forge(folder, *accounts)
    try:
        yield forge
    finally:
        forge.close()
        shutil.rmtree(folder)
