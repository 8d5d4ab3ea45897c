"""This machine's package history: who asked apt for what, when.

apt writes one stanza per transaction to /var/log/apt/history.log and rotates it to history.log.1.gz and so on.  A
transaction becomes one `package.transaction` event, which keeps the whole stanza, and one event per package, because
"when did openssl change, and who asked?" is the question.  They share a correlation.

| event | actor | resource | value | attrs |
|---|---|---|---|---|
| `package.transaction` | `Requested-By`, else null | the command line, else null | its duration in seconds | `original`, `packages`, `error` |
| `package.install` `.reinstall` `.upgrade` `.downgrade` `.remove` `.purge` | the same | the package's name | | `architecture`, `version`, `previous`, `automatic` |

Outcome is `failure` where the stanza has an `Error`, `success` where it has an end, null where it has neither.  apt
writes local times without a zone: they are read in the machine's zone, a repeated hour as its first pass.  No event
has an id, because apt promises none.  What cannot be read becomes an `Unreadable` and never stops the rest.
"""

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from auditkit.api import Trail
from auditkit.queue.dead_letters import DeadLetter
from auditkit.text import counted
from auditkit.timerange import check_zone
from auditkit.write.flush import keep_dead_letters

HISTORY = Path("/var/log/apt")
SOURCE = "apt"

_ACTIONS = {
    "Install": "package.install",
    "Reinstall": "package.reinstall",
    "Upgrade": "package.upgrade",
    "Downgrade": "package.downgrade",
    "Remove": "package.remove",
    "Purge": "package.purge",
}
_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d) {1,2}(\d\d):(\d\d):(\d\d)")
_REQUESTED_BY = re.compile(r"(?P<name>.+?) \((?P<uid>\d+)\)")
_PACKAGE = re.compile(r"(?P<name>[^\s:,()]+)(?::(?P<architecture>[^\s,()]+))?(?: \((?P<versions>[^()]*)\))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A stanza, or a file, that could not become events: where (line from 1), why, and its text."""

    path: Path
    line: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSummary:
    """What an import of the package history came to."""

    files: int
    transactions: int
    events: int
    unreadable: int

    def __str__(self) -> str:
        transactions = counted(self.transactions, "package transaction")
        text = f"{counted(self.events, 'event')} of {transactions} in {counted(self.files, 'file')}"
        return text + (f"; {counted(self.unreadable, 'stanza')} not understood" if self.unreadable else "")


def import_history(trail: Trail, folder: Path = HISTORY, *, tz: str | None = None) -> AptSummary:
    """Append the package history in `folder`, oldest first; what cannot be read becomes dead letters.

    Times are read in `tz`, by default the machine's zone.  On return all of it is durable.  Where there is no history,
    nothing is appended.
    """
    paths = history_files(folder)
    events: list[Mapping[str, object]] = []
    letters: list[DeadLetter] = []
    recorded_us = trail.handle.clock.now_us()
    for item in read_history(paths, tz=tz):
        if isinstance(item, Unreadable):
            reason = f"{item.path.name}: {item.reason}"
            letters.append(
                DeadLetter(
                    recorded_us=recorded_us, reason=reason, field=None, line=item.line, input=item.text
                )
            )
        else:
            events.append(item)
    taken = trail.extend(events, on_invalid="dead-letter")
    taken.wait()
    if letters:
        keep_dead_letters(trail.handle, letters)
    transactions = sum(event["action"] == "package.transaction" for event in events)
    return AptSummary(
        files=len(paths), transactions=transactions, events=taken.count, unreadable=len(letters)
    )


def history_files(folder: Path = HISTORY) -> list[Path]:
    """Return the history's files, oldest first: the highest number was rotated away first."""

    def age(path: Path) -> int:
        number = path.name.removeprefix("history.log").removesuffix(".gz").strip(".")
        return int(number) if number.isdigit() else 0

    return sorted(folder.glob("history.log*"), key=lambda path: (-age(path), path.name))


def read_history(paths: list[Path], *, tz: str | None = None) -> Iterator[dict[str, object] | Unreadable]:
    """Yield the events of these files as mappings for `Trail.extend`, and what could not be read, in file order."""
    zone = machine_zone() if tz is None else check_zone(tz)
    for path in paths:
        try:
            content = path.read_bytes()
            text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8", "replace")
        except (OSError, EOFError, zlib.error) as exc:
            yield Unreadable(path=path, line=1, reason=f"cannot be read ({exc})", text="")
            continue
        for line, stanza in stanzas(text):
            try:
                yield from events_of(stanza, zone)
            except ValueError as exc:
                yield Unreadable(path=path, line=line, reason=str(exc), text=stanza)


def stanzas(text: str) -> Iterator[tuple[int, str]]:
    """Yield each stanza with the number (from 1) of its first line; stanzas are apart by empty lines."""
    block: list[str] = []
    first = 1
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip():
            if not block:
                first = number
            block.append(line)
        elif block:
            yield first, "\n".join(block)
            block = []


def events_of(stanza: str, zone: tzinfo) -> list[dict[str, object]]:
    """Return the events of one stanza; raise `ValueError` saying what is wrong with it.

    >>> stanza = "Start-Date: 2026-11-24  09:00:00\\nRequested-By: ann (1000)\\nRemove: nano:amd64 (7.2-1)"
    >>> [(event["action"], event["actor"], event["resource"]) for event in events_of(stanza, ZoneInfo("UTC"))]
    [('package.transaction', 'ann', None), ('package.remove', 'ann', 'nano')]
    """
    fields = _fields(stanza)
    if "Start-Date" not in fields:
        raise ValueError("no Start-Date")
    start = _moment(fields["Start-Date"], zone)
    asked = _REQUESTED_BY.fullmatch(fields.get("Requested-By", ""))
    common: dict[str, object] = {
        "ts": start,
        "actor": asked["name"] if asked else fields.get("Requested-By") or None,
        "outcome": "failure" if "Error" in fields else "success" if "End-Date" in fields else None,
        "source": SOURCE,
        "correlation": f"apt-{fields['Start-Date'].replace('  ', 'T').replace(' ', 'T')}",
    }
    packages = [
        {**common, **package}
        for name, action in _ACTIONS.items()
        for package in _packages(action, fields.get(name, ""))
    ]
    attrs: dict[str, object] = {"original": stanza, "packages": len(packages)}
    attrs.update({"uid": int(asked["uid"])} if asked else {})
    attrs.update({"error": fields["Error"]} if "Error" in fields else {})
    transaction: dict[str, object] = {
        **common,
        "action": "package.transaction",
        "resource": fields.get("Commandline") or None,
        "value": _duration(start, fields["End-Date"], zone) if "End-Date" in fields else None,
        "attrs": attrs,
    }
    return [transaction, *packages]


def machine_zone() -> tzinfo:
    """Return the zone in which this machine writes local times: TZ, else /etc/localtime, else UTC."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if name:
        try:
            return ZoneInfo(name)
        except (OSError, ValueError):  # a rule or a path instead of a name
            pass
    try:
        with Path("/etc/localtime").open("rb") as rules:
            return ZoneInfo.from_file(rules, key="localtime")
    except (OSError, ValueError):
        return ZoneInfo("UTC")


def _fields(stanza: str) -> dict[str, str]:
    """Return the fields of a stanza; a line without a field name belongs to the field before it."""
    fields: dict[str, str] = {}
    last = ""
    for line in stanza.split("\n"):
        name, colon, value = line.partition(": ")
        if colon and re.fullmatch(r"[A-Z][A-Za-z-]*", name):
            if name in fields:
                raise ValueError(f"{name} appears twice")
            fields[name] = value.strip()
            last = name
        elif last:
            fields[last] += "\n" + line
        else:
            raise ValueError("does not begin with a field")
    return fields


def _moment(text: str, zone: tzinfo) -> datetime:
    """Return a local stamp as an aware moment; the first pass of a repeated hour."""
    match = _STAMP.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a time: {text[:40]!r}")
    year, month, day, hour, minute, second = map(int, match.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=zone)


def _duration(start: datetime, text: str, zone: tzinfo) -> float | None:
    """Return the seconds from start to end; None where the end cannot be read or lies before the start."""
    try:
        end = _moment(text, zone)
    except ValueError:
        return None
    passes = [end.replace(fold=fold).timestamp() - start.timestamp() for fold in (0, 1)]
    return next((seconds for seconds in passes if seconds >= 0), None)


def _packages(action: str, text: str) -> Iterator[dict[str, object]]:
    """Yield the part of a package event that says which package, from `name:arch (version[, version][, automatic])`."""
    position = 0
    while position < len(text):
        match = _PACKAGE.match(text, position)
        if match is None:
            raise ValueError(f"not a list of packages: {text[position : position + 40]!r}")
        versions = [part.strip() for part in (match["versions"] or "").split(",") if part.strip()]
        attrs: dict[str, object] = {"architecture": match["architecture"]} if match["architecture"] else {}
        if versions[-1:] == ["automatic"]:
            attrs["automatic"] = True
            versions.pop()
        if versions:
            attrs["version"] = versions[-1]
        if len(versions) > 1:
            attrs["previous"] = versions[0]
        yield {"action": action, "resource": match["name"], "attrs": attrs}
        rest = text[match.end() :]
        position = match.end() + len(rest) - len(rest.lstrip(", \n"))
