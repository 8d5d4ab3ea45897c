"""Who holds the lock of a file, as far as the system tells.

A lock that is never given back is worth a message that names who must be asked to.  Linux lists the locks of all
processes in `/proc/locks`; elsewhere, and of processes outside a container, nothing is known.
"""

import os
import pwd
from pathlib import Path

from auditkit.text import visible

_LOCKS = Path("/proc/locks")


def holder_of(path: Path) -> str:
    """Return which process holds the lock of a file, in words: its number, and where they are known name and account."""
    try:
        status = path.lstat()
        listed = _LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return "another process"
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in listed:
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == wanted and int(words[4]) > 0:
            return f"process {words[4]}{_described(words[4])}"
    return "another process"


def _described(process: str) -> str:
    """Return name and account of a process in brackets, or nothing."""
    folder = Path("/proc") / process
    try:
        name, account = folder.joinpath("comm").read_text(errors="replace").strip(), folder.stat().st_uid
    except OSError:
        return ""
    try:
        owner = pwd.getpwuid(account).pw_name
    except KeyError:
        owner = f"account {account}"
    return f" ({visible(name)} of {visible(owner)})"
