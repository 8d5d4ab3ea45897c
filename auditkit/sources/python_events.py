"""One line of the recorder's pipe becomes one event: which actions there are, and what they say.

Pure: no clock, no trail, no disk.  The lines come from the program being recorded and are as trustworthy as that
program: a line of no known shape raises `ValueError` and nothing else.

| action | resource | attrs beside `pid` |
|---|---|---|
| `interpreter.start` | the Python that starts | `ppid`, `version`, `arguments` |
| `file.read` `file.write` `file.append` `file.update` | the file, by how it is opened | `mode` or `flags` |
| `file.delete` `file.rename` `file.link` | the file | `to` |
| `file.chmod` `file.chown` `file.truncate` | the file | `mode`, `uid` and `gid`, `length` |
| `directory.open` `directory.list` `directory.create` `directory.delete` | the directory | |
| `module.import` | the module's name | |
| `module.load` `module.search` | what the import system reads or lists for it | |
| `library.load` | a shared library (ctypes) | |
| `process.start` | the program | `arguments`: their number, with --args themselves |
| `process.fork` `process.signal` | the process signalled | `signal` |
| `socket.connect` `socket.bind` `socket.send` | `host:port`, `[v6]:port`, `unix:path` | |
| `host.resolve` | the name looked up | `service` |
| `database.open` | an SQLite database | |
| `run.gap` | | value: events lost because the recorder could not keep up |

A resource that is a relative path was relative to a directory the audit event does not name (`relative` is true);
`truncated` is true where a text was too long for one line of the pipe, `cut` where a host or database was named by a
URL with a user, a password or a query, which may hold secrets and are left out.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

_SEPARATOR = b"\x1f"
_TRUNCATED = "\x00"
_FAR_FUTURE_US = 253_402_300_800_000_000  # the year 10000
_URL = re.compile(r"(?s)\A([A-Za-z][A-Za-z0-9+.-]*://)?([^?#]*)(.*)")
_SINGLE_DOTS = re.compile(r"(?<=/)(?:\./+|/+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What one line says: microseconds since 1970, the process, and what it set out to do."""

    ts_us: int
    pid: int
    action: str
    resource: str | None = None
    value: float | None = None
    attrs: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The part of an event that depends on the kind of audit event."""

    action: str
    resource: str | None = None
    value: float | None = None
    attrs: Mapping[str, object] = field(default_factory=dict)


def recorded(line: bytes) -> Recorded:
    r"""Read one line (without its end); raise `ValueError` if the recorder did not write it.

    >>> recorded(b"1795509285098849\x1f77\x1fopen\x1f/srv/./notes.txt\x1fw\x1f577\x1f")
    ... # doctest: +NORMALIZE_WHITESPACE
    Recorded(ts_us=1795509285098849, pid=77, action='file.write', resource='/srv/notes.txt', value=None,
             attrs={'pid': 77, 'mode': 'w'})
    """
    try:
        stamp, process, name, *parts = line.split(_SEPARATOR)
        return described(int(stamp), int(process), name.decode("ascii"), [_unescaped(part) for part in parts])
    except (ValueError, DeprecationWarning) as exc:
        raise ValueError(f"recorder line: not understood (found {line[:80]!r})") from exc


def described(ts_us: int, pid: int, name: str, texts: Sequence[str]) -> Recorded:
    """Return what an audit event says, by its name and the texts that the hook picked of it; raise `ValueError` if it is none."""
    if not (0 <= ts_us < _FAR_FUTURE_US and 0 <= pid < 2**32):
        raise ValueError("time or process out of range")
    truncated = list(texts[-1:]) == [_TRUNCATED]
    try:
        part = _READERS[name](texts[:-1] if truncated else texts)
    except (LookupError, TypeError) as exc:
        raise ValueError("not understood") from exc
    attrs = {"pid": pid, **part.attrs, **({"truncated": True} if truncated else {})}
    return Recorded(
        ts_us=ts_us, pid=pid, action=part.action, resource=part.resource, value=part.value, attrs=attrs
    )


def _unescaped(part: bytes) -> str:
    """Undo `unicode_escape`; what is not Unicode (an undecodable file name) keeps its escape as text."""
    text = part.decode("unicode_escape") if b"\\" in part else part.decode("ascii")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _whole(text: str) -> int:
    """Return a whole number of 64 bits, as every number of an audit event is."""
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError("not a number of 64 bits")
    return number


def _public(name: str, *, is_host: bool = False) -> tuple[str, dict[str, object]]:
    """Return a host or database without what may be a secret: a URL's user, password, query and fragment."""
    scheme, kept, query = _URL.findall(name)[0]
    if not (scheme or is_host or name.startswith("file:")):
        return name, {}
    if scheme or is_host:  # a sign @ behind the ? may end a password or stand in a query
        kept = "" if "@" in query else kept.rpartition("@")[2]
    return scheme + kept, {} if scheme + kept == name else {"cut": True}


def _place(path: str) -> tuple[str, dict[str, object]]:
    """Return a path without empty and `.` steps (`..` stays: a link may stand before it), and whether it is relative."""
    return _SINGLE_DOTS.sub("", path) or path, {} if path.startswith("/") else {"relative": True}


def _at(action: str, *names: str) -> Callable[[Sequence[str]], _Part]:
    """Return a reader for events about one path, whose further texts are whole numbers with these names."""

    def read(texts: Sequence[str]) -> _Part:
        path, attrs = _place(texts[0])
        numbers = {name: _whole(text) for name, text in zip(names, texts[1:], strict=True)}
        shown = {name: oct(number) if name == "mode" else number for name, number in numbers.items()}
        return _Part(action=action, resource=path, attrs={**shown, **attrs})

    return read


def _between(action: str) -> Callable[[Sequence[str]], _Part]:
    """Return a reader for events from one path to another."""

    def read(texts: Sequence[str]) -> _Part:
        (path, attrs), (to, _) = _place(texts[0]), _place(texts[1])
        return _Part(action=action, resource=path, attrs={"to": to, **attrs})

    return read


def _named(action: str) -> Callable[[Sequence[str]], _Part]:
    """Return a reader for events about something with a name."""
    return lambda texts: _Part(action=action, resource=texts[0] or None)


def _resolve(texts: Sequence[str]) -> _Part:
    host, service = texts
    name, attrs = _public(host, is_host=True)
    return _Part(
        action="host.resolve",
        resource=name or None,
        attrs={**({"service": service} if service else {}), **attrs},
    )


def _database(texts: Sequence[str]) -> _Part:
    (given,) = texts
    name, attrs = _public(given)
    return _Part(action="database.open", resource=name or None, attrs=attrs)


def _open(texts: Sequence[str]) -> _Part:
    path, mode, flags_text, by_import = texts
    flags = _whole(flags_text)
    place, attrs = _place(path)
    action = "directory.open" if flags & os.O_DIRECTORY and not mode else f"file.{_way(mode, flags)}"
    if by_import and action == "file.read":
        action = "module.load"
    how: dict[str, object] = {"mode": mode} if mode else {"flags": flags}
    return _Part(action=action, resource=place, attrs={**how, **attrs})


def _way(mode: str, flags: int) -> str:
    """Return read, write (anew), append or update (in place), by mode if there is one, else by flags."""
    if mode:
        kinds = {"w": "write", "x": "write", "a": "append"}
        return next(
            (kind for letter, kind in kinds.items() if letter in mode), "update" if "+" in mode else "read"
        )
    if flags & (os.O_WRONLY | os.O_RDWR) == 0:
        return "read"
    if flags & os.O_APPEND:
        return "append"
    return "write" if flags & (os.O_TRUNC | os.O_CREAT) or flags & os.O_WRONLY else "update"


def _import(texts: Sequence[str]) -> _Part:
    name, filename = texts
    return (
        _Part(action="module.load", resource=filename)
        if filename
        else _Part(action="module.import", resource=name)
    )


def _list(texts: Sequence[str]) -> _Part:
    place, attrs = _place(texts[0])
    return _Part(action="module.search" if texts[1] else "directory.list", resource=place, attrs=attrs)


def _command(action: str, *extras: str) -> Callable[[Sequence[str]], _Part]:
    """Return a reader for program, number of arguments, extras, and the arguments themselves where they were sent."""

    def read(texts: Sequence[str]) -> _Part:
        program, count, *rest = texts
        attrs: dict[str, object] = {"arguments": _whole(count)} if count else {}
        attrs.update(zip(extras, rest[: len(extras)], strict=True))
        if len(rest) > len(extras):
            attrs["argv"] = list(rest[len(extras) :])
        return _Part(action=action, resource=program or None, attrs=attrs)

    return read


def _interpreter(texts: Sequence[str]) -> _Part:
    part = _command("interpreter.start", "ppid", "version")(texts)
    return _Part(action=part.action, resource=part.resource, attrs={**part.attrs, "ppid": _whole(texts[2])})


def _address(action: str) -> Callable[[Sequence[str]], _Part]:
    """Return a reader for socket addresses."""

    def read(texts: Sequence[str]) -> _Part:
        if len(texts) == 1:  # Linux names sockets without a file after a zero byte, shown as @ by convention
            return _Part(action=action, resource="unix:" + texts[0].replace("\x00", "@"))
        name, attrs = _public(texts[0], is_host=True)
        host = f"[{name}]" if len(texts) == 3 else name
        return _Part(action=action, resource=f"{host}:{texts[1]}", attrs=attrs)

    return read


def _signal(texts: Sequence[str]) -> _Part:
    return _Part(
        action="process.signal", resource=f"process/{_whole(texts[0])}", attrs={"signal": _whole(texts[1])}
    )


def _lost(texts: Sequence[str]) -> _Part:
    return _Part(action="run.gap", value=float(_whole(texts[0])))


_READERS: Mapping[str, Callable[[Sequence[str]], _Part]] = {
    "interpreter": _interpreter,
    "open": _open,
    "import": _import,
    "subprocess.Popen": _command("process.start"),
    "os.posix_spawn": _command("process.start"),
    "os.exec": _command("process.start"),
    "os.system": _command("process.start"),
    "pty.spawn": _command("process.start"),
    "os.fork": lambda _: _Part(action="process.fork"),
    "os.forkpty": lambda _: _Part(action="process.fork"),
    "os.kill": _signal,
    "socket.connect": _address("socket.connect"),
    "socket.bind": _address("socket.bind"),
    "socket.sendto": _address("socket.send"),
    "socket.getaddrinfo": _resolve,
    "sqlite3.connect": _database,
    "ctypes.dlopen": _named("library.load"),
    "os.listdir": _list,
    "os.scandir": _list,
    "os.mkdir": _at("directory.create"),
    "os.rmdir": _at("directory.delete"),
    "os.remove": _at("file.delete"),
    "os.rename": _between("file.rename"),
    "os.link": _between("file.link"),
    "os.symlink": _between("file.link"),
    "os.chmod": _at("file.chmod", "mode"),
    "os.chown": _at("file.chown", "uid", "gid"),
    "os.truncate": _at("file.truncate", "length"),
    "lost": _lost,
}
