"""What one line of the recorder's pipe says."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditkit.sources import python_events
from auditkit.sources.python_events import recorded

STAMP = b"1795509285098849\x1f77\x1f"


@pytest.mark.parametrize(
    ("line", "action", "resource", "attrs"),
    [
        (b"open\x1f/srv/a\x1frb\x1f524288\x1f", "file.read", "/srv/a", {"mode": "rb"}),
        (b"open\x1f/srv/a\x1fxb\x1f524288\x1f", "file.write", "/srv/a", {"mode": "xb"}),
        (b"open\x1f/srv/a\x1fw+b\x1f0\x1f", "file.write", "/srv/a", {"mode": "w+b"}),
        (b"open\x1f/srv/a\x1fab\x1f0\x1f", "file.append", "/srv/a", {"mode": "ab"}),
        (b"open\x1f/srv/a\x1fr+b\x1f0\x1f", "file.update", "/srv/a", {"mode": "r+b"}),
        (b"open\x1f/srv/a\x1fr\x1f0\x1f1", "module.load", "/srv/a", {"mode": "r"}),
        (b"import\x1fjson.decoder\x1f", "module.import", "json.decoder", {}),
        (b"import\x1f_json\x1f/usr/lib/_json.so", "module.load", "/usr/lib/_json.so", {}),
        (b"subprocess.Popen\x1fgit\x1f2", "process.start", "git", {"arguments": 2}),
        (b"os.exec\x1f/bin/ls\x1f1\x1f-l", "process.start", "/bin/ls", {"arguments": 1, "argv": ["-l"]}),
        (b"os.fork", "process.fork", None, {}),
        (b"os.kill\x1f4242\x1f15", "process.signal", "process/4242", {"signal": 15}),
        (b"socket.connect\x1f192.0.2.7\x1f443", "socket.connect", "192.0.2.7:443", {}),
        (b"socket.connect\x1f2001:db8::1\x1f443\x1f6", "socket.connect", "[2001:db8::1]:443", {}),
        (b"socket.bind\x1f/run/app.sock", "socket.bind", "unix:/run/app.sock", {}),
        (b"socket.bind\x1f\\x00session", "socket.bind", "unix:@session", {}),
        (b"socket.getaddrinfo\x1fdb.example\x1f5432", "host.resolve", "db.example", {"service": "5432"}),
        (b"os.rename\x1f/srv/a\x1f/srv/b", "file.rename", "/srv/a", {"to": "/srv/b"}),
        (b"os.remove\x1fa\x1f", "file.delete", "a", {"relative": True}),
        (b"os.chmod\x1f/srv/a\x1f384", "file.chmod", "/srv/a", {"mode": "0o600"}),
        (b"os.listdir\x1f/srv/./x//y\x1f", "directory.list", "/srv/x/y", {}),
        (b"os.listdir\x1f/srv/../x\x1f1", "module.search", "/srv/../x", {}),
        (b"sqlite3.connect\x1f:memory:", "database.open", ":memory:", {}),
    ],
)
def test_a_line_becomes_an_event(
    line: bytes, action: str, resource: str | None, attrs: Mapping[str, object]
) -> None:
    """Each kind of audit event has its action, its resource and its details."""
    event = recorded(STAMP + line.removesuffix(b"\x1f") if line.startswith(b"os.remove") else STAMP + line)
    assert (event.ts_us, event.pid) == (1795509285098849, 77)
    assert (event.action, event.resource, event.attrs) == (action, resource, {"pid": 77, **attrs})


@pytest.mark.parametrize(
    ("flags", "action"),
    [
        (os.O_RDONLY | os.O_CLOEXEC, "file.read"),
        (os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "file.write"),
        (os.O_RDWR | os.O_CREAT | os.O_EXCL, "file.write"),
        (os.O_WRONLY | os.O_APPEND | os.O_CREAT, "file.append"),
        (os.O_RDWR, "file.update"),
        (os.O_RDONLY | os.O_DIRECTORY, "directory.open"),
    ],
)
def test_an_open_without_a_mode_is_named_by_its_flags(flags: int, action: str) -> None:
    """A file opened by `os.open` is read, written, appended to or updated as its flags say."""
    event = recorded(STAMP + b"open\x1f/srv/a\x1f\x1f%d\x1f" % flags)
    assert (event.action, event.attrs["flags"]) == (action, flags)


def test_hostile_names_arrive_as_text() -> None:
    """Line ends, separators and undecodable bytes of a file name survive as valid Unicode."""
    event = recorded(STAMP + b"open\x1f/srv/a\\n\\x1f\\udc80\\u2028\x1fr\x1f0\x1f")
    assert event.resource == "/srv/a\n\x1f\\udc80\u2028"


def test_a_cut_line_says_so() -> None:
    """An event whose texts were too long is marked."""
    event = recorded(STAMP + b"subprocess.Popen\x1fgit\x1f9\x1f--all\x1f\\x00")
    assert event.attrs == {"pid": 77, "arguments": 9, "argv": ["--all"], "truncated": True}


def test_a_gap_carries_its_length() -> None:
    """Events that the hook lost are counted by one of their own."""
    event = recorded(STAMP + b"lost\x1f12")
    assert (event.action, event.value) == ("run.gap", 12.0)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"garbage",
        b"\xff\x1f\xff\x1f\xff",
        b"1\x1f2\x1fopen",
        b"1\x1f2\x1funknown\x1fa",
        b"1\x1f2\x1fopen\x1f\xff\x1fr\x1f0\x1f",
        b"1\x1f2\x1fopen\x1f\\q\x1fr\x1f0\x1f",
        b"1\x1f2\x1fopen\x1f\\x\x1fr\x1f0\x1f",
        b"1\x1f2\x1fopen\x1f/a\x1fr\x1fmany\x1f",
        b"-1\x1f2\x1fos.fork",
        b"999999999999999999999\x1f2\x1fos.fork",
        b"1\x1f2\x1fos.kill",
        b"1\x1f2\x1flost\x1f1" + b"0" * 400,
        b"1\x1f2\x1flost\x1f1" + b"0" * 5_000,
        b"1\x1f2\x1fos.chmod\x1f/a\x1f" + b"9" * 20,
        b"1\x1f2\x1fos.kill\x1f1\x1f" + b"9" * 20,
    ],
)
def test_a_line_of_no_known_shape_is_refused(line: bytes) -> None:
    """What the hook did not write raises `ValueError` and nothing else."""
    with pytest.raises(ValueError, match="recorder line"):
        recorded(line)


NAMES = [name.encode() for name in python_events._READERS]
TEXTS = st.one_of(
    st.binary(max_size=40),
    st.integers(0, 10**400).map(lambda number: b"%d" % number),
    st.text(max_size=20).map(lambda text: text.encode("unicode_escape")),
)


@given(st.sampled_from(NAMES), st.lists(TEXTS, max_size=6), st.integers(-1, 2**70), st.integers(-1, 2**70))
def test_any_line_is_an_event_or_refused(name: bytes, texts: list[bytes], stamp: int, pid: int) -> None:
    """Whatever a program writes in place of the hook becomes an event or a `ValueError`."""
    line = b"\x1f".join([b"%d" % stamp, b"%d" % pid, name, *texts])
    with suppress(ValueError):
        event = recorded(line)
        assert event.action
        json.dumps([event.resource, event.value, dict(event.attrs)]).encode()


@pytest.mark.parametrize(
    ("event", "name", "public"),
    [
        ("socket.getaddrinfo", "example.org", "example.org"),
        ("socket.getaddrinfo", "ann:hunter2@example.org", "example.org"),
        (
            "socket.getaddrinfo",
            "https://ann:hunter2@example.org/x?token=hunter2#hunter2",
            "https://example.org/x",
        ),
        ("socket.getaddrinfo", "https://example.org?token=hunter2@x", "https://"),
        ("socket.getaddrinfo", "ann:hunt?hunter2@example.org", ""),
        ("socket.getaddrinfo", "", ""),
        ("sqlite3.connect", "/srv/a@b/what?.db", "/srv/a@b/what?.db"),
        ("sqlite3.connect", "file:/srv/a@b.db?mode=ro&key=hunter2", "file:/srv/a@b.db"),
        ("sqlite3.connect", "postgres://ann:hunter2@db.example.org/x", "postgres://db.example.org/x"),
        ("sqlite3.connect", "mysql+x://ann:hunt@hunter2@db/x", "mysql+x://db/x"),
        ("sqlite3.connect", ":memory:", ":memory:"),
    ],
)
def test_credentials_are_cut(event: str, name: str, public: str) -> None:
    """What a URL may hold of secrets is not kept, and the event says that something was cut."""
    texts = [name, "443"] if event == "socket.getaddrinfo" else [name]
    found = recorded(STAMP + "\x1f".join([event, *texts]).encode())
    assert (found.resource or "") == public
    assert found.attrs.get("cut", False) is (name != public)
    assert "hunt" not in str(found)


def test_credentials_in_an_address_are_cut() -> None:
    """A host with a password before it is no host, and neither is kept."""
    found = recorded(STAMP + b"socket.connect\x1fann:hunter2@example.org\x1f443")
    assert (found.resource, found.attrs["cut"]) == ("example.org:443", True)
