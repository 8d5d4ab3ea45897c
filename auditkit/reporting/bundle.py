"""Vega as one script, kept in the user's cache: making it takes seconds.

The script defines `vegaEmbed` and nothing else that a page could trip over.  A cached copy counts only if its digest
is right; where no cache can be written, the script is made anew in each process.
"""

import hashlib
import os
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

import vl_convert

from auditkit.disk.durable import PosixDisk, publish, write_temporary

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_ENDING = re.compile("<(/script|!--)", re.IGNORECASE)
"""What would end or hide a script inside HTML."""


@cache
def vega_bundle() -> str:
    """Return the script: Vega, Vega-Lite and vega-embed of the vl-convert that is installed."""
    path = cache_folder() / f"vega-of-vl-convert-{version('vl-convert-python')}.js"
    kept = _read(path)
    if kept is not None:
        return kept
    # Its top-level constants would be every script's; inside a function they are its own.
    made = f"(function () {{\n{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}\n}})();\n"
    made = _ENDING.sub(r"\\x3c\1", made)
    _keep(path, made)
    return made


def cache_folder() -> Path:
    """Return where this user's programs keep what can be made again (XDG base directory specification)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path("~/.cache").expanduser()) / "auditkit"


def _read(path: Path) -> str | None:
    try:
        digest, _, script = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return script if digest == _digest(script) else None


def _keep(path: Path, script: str) -> None:
    """Publish the script in the cache; a cache that cannot be written is no error."""
    disk, temporary = PosixDisk(), path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        disk.unlink(temporary)
        write_temporary(disk, temporary, f"{_digest(script)}\n{script}".encode(), _FILE_MODE)
        publish(disk, temporary, path)
    except OSError:
        return


def _digest(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()
