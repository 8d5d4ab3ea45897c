"""What requests to a Jupyter Server did, in the words of events."""

import json
from typing import Any

import pytest

from auditkit.lab.requests import (
    Act,
    Body,
    Request,
    body_of,
    contents_act,
    files_act,
    restore_act,
    session_file,
)

UUID = "50c165a5-b9c2-4dfd-bffa-3d8a5587756d"


@pytest.mark.parametrize(
    ("method", "query", "body", "status", "made", "act"),
    [
        ("GET", {}, {}, 200, None, Act("file.open", "d/a.txt")),
        ("GET", {"content": "1", "type": "notebook"}, {}, 200, None, Act("file.open", "d/a.txt")),
        ("GET", {"content": "0"}, {}, 200, None, None),
        ("GET", {"type": "directory"}, {}, 200, None, None),
        ("PUT", {}, {"type": "notebook", "format": "json"}, 200, None, Act("file.save", "d/a.txt")),
        (
            "PUT",
            {},
            {"type": "file", "format": "text"},
            201,
            None,
            Act("file.create", "d/a.txt", {"type": "file"}),
        ),
        ("PUT", {}, {"type": "file", "format": "base64"}, 201, None, Act("file.upload", "d/a.txt")),
        ("PUT", {}, {"type": "file", "format": "base64"}, 200, None, Act("file.upload", "d/a.txt")),
        ("PUT", {}, {"format": "base64", "chunk": 1}, 201, None, None),
        ("PUT", {}, {"format": "base64", "chunk": 2}, 200, None, None),
        ("PUT", {}, {"format": "base64", "chunk": 2}, 507, None, Act("file.upload", "d/a.txt")),
        ("PUT", {}, {"format": "base64", "chunk": -1}, 200, None, Act("file.upload", "d/a.txt")),
        ("PATCH", {}, {"path": "/d/b.txt"}, 200, None, Act("file.rename", "d/b.txt", {"from": "d/a.txt"})),
        ("PATCH", {}, {"path": "d/a.txt"}, 200, None, None),
        ("PATCH", {}, {}, 200, None, None),
        ("POST", {}, {"type": "directory"}, 201, "d/n", Act("file.create", "d/n", {"type": "directory"})),
        ("POST", {}, {"copy_from": "/x.txt"}, 201, "d/x.txt", Act("file.copy", "d/x.txt", {"from": "x.txt"})),
        ("POST", {}, {"copy_from": "x.txt"}, 404, None, Act("file.copy", "d/a.txt", {"from": "x.txt"})),
        ("DELETE", {}, {}, 204, None, Act("file.delete", "d/a.txt")),
        ("OPTIONS", {}, {}, 204, None, None),
    ],
)
def test_contents(
    method: str, query: dict[str, str], body: dict[str, Any], status: int, made: str | None, act: Act | None
) -> None:
    """Each change of a file is one event, reading it one, and what Lab polls none."""
    request = Request(method, "d/a.txt", query, body_of(json.dumps(body).encode()), status, made)
    assert contents_act(request) == act


def test_the_list_of_the_root_is_no_file() -> None:
    """The folder that is served has no name."""
    assert contents_act(Request("GET", "")) is None


@pytest.mark.parametrize(
    ("method", "path", "query", "action"),
    [
        ("GET", "a.csv", {"download": "1"}, "file.download"),
        ("GET", "a.ipynb", {}, "file.download"),
        ("GET", "a.png", {}, "file.open"),
        ("HEAD", "a.png", {}, None),
    ],
)
def test_files(method: str, path: str, query: dict[str, str], action: str | None) -> None:
    """A file that goes out is downloaded or shown; a notebook is always downloaded."""
    assert files_act(Request(method, path, query)) == (action and Act(action, path))


def test_checkpoints() -> None:
    """Going back to a checkpoint changes a file; forgetting one does not."""
    assert restore_act(Request("POST", "a"), "c1") == Act("file.restore", "a", {"checkpoint": "c1"})
    assert restore_act(Request("DELETE", "a"), "c1") is None


@pytest.mark.parametrize(
    ("path", "name", "file"),
    [
        (f"d/{UUID}", "a.ipynb", "d/a.ipynb"),
        (UUID, "a.ipynb", "a.ipynb"),
        ("d/b.ipynb", "a.ipynb", "d/b.ipynb"),
        ("/b.ipynb", None, "b.ipynb"),
        (f"d/{UUID}", "", f"d/{UUID}"),
        (None, None, ""),
    ],
)
def test_the_file_of_a_session(path: str | None, name: str | None, file: str) -> None:
    """JupyterLab begins a session under an id, and names its notebook a moment later."""
    assert session_file(path, name) == file


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[1]", b'{"path": 7}', b"\xff\xfe", b'{"a":' * 100_000, b'{"path": "\xff"}']
)
def test_a_body_that_is_none_of_ours(raw: bytes) -> None:
    """What does not read says nothing, and harms nothing."""
    assert body_of(raw) == Body()
