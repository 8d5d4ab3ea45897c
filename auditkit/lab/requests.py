"""What a request to a Jupyter Server did to a file, in the words of an event: its REST interface as a table, nothing that is kept.

| action | request |
|---|---|
| `file.open` | a file's content was asked for (not its metadata, which Lab polls, and no list of a folder) |
| `file.create` | a new file, notebook or folder (`attrs.type`), or one saved under a new name |
| `file.save` | what was there was written again, by hand or by Lab's own autosave |
| `file.upload` | bytes were uploaded: once, however many chunks it took |
| `file.rename`, `file.copy` | `attrs.from` is the path it had, or was copied from |
| `file.delete`, `file.restore` | removed; set back to a checkpoint |
| `file.download`, `file.export` | the file itself went out, or the notebook in another format (`attrs.format`) |

A request that was refused or failed is the same event with the outcome `failure` and `attrs.status`.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

REFUSED = (401, 403)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Body(msgspec.Struct, frozen=True):
    """What the JSON of a request says, as far as an event needs it; a notebook's content is passed over."""

    type: str | None = None
    path: str | None = None
    name: str | None = None
    format: str | None = None
    copy_from: str | None = None
    chunk: int | None = None


class Request(msgspec.Struct, frozen=True):
    """One request that was answered."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    body: Body = Body()
    status: int = 200
    made: str | None = None
    """The path that the server chose for what it made, as it said on its event bus."""


class Act(msgspec.Struct, frozen=True):
    """What a request did: the fields of an event that it decides."""

    action: str
    resource: str
    attrs: dict[str, Any] = {}


def body_of(raw: bytes) -> Body:
    """Return the body of a request, an empty one where it is none of ours."""
    try:
        return msgspec.json.decode(raw, type=Body) if raw else Body()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Body()


def session_file(path: str | None, name: str | None) -> str:
    """Return the file of a session: JupyterLab begins one under an id in the place of the file's name, to avoid a race."""
    folder, _, last = (path or "").strip("/").rpartition("/")
    if name and _UUID.fullmatch(last):
        last = name
    return f"{folder}/{last}" if folder else last


def contents_act(request: Request) -> Act | None:
    """Return what a request to `api/contents` did; of a file that was opened it may turn out to be a folder."""
    body, path = request.body, request.path
    match request.method:
        case "GET":
            wanted = request.query.get("content") != "0" and request.query.get("type") != "directory"
            return Act("file.open", path) if wanted and path else None
        case "PUT":
            return _put(request)
        case "PATCH":
            to = (body.path or path).strip("/")
            return Act("file.rename", to, {"from": path}) if to != path else None
        case "POST" if body.copy_from:
            return Act("file.copy", request.made or path, {"from": body.copy_from.strip("/")})
        case "POST":
            return Act("file.create", request.made or path, _typed(body))
        case "DELETE":
            return Act("file.delete", path)
    return None


def _put(request: Request) -> Act | None:
    body = request.body
    if body.chunk is not None and body.chunk != -1 and request.status < 400:
        return None  # the last chunk is the upload
    if body.format == "base64" or body.chunk is not None:
        return Act("file.upload", request.path)
    return (
        Act("file.create", request.path, _typed(body))
        if request.status == 201
        else Act("file.save", request.path)
    )


def _typed(body: Body) -> dict[str, Any]:
    return {} if body.type is None else {"type": body.type}


def files_act(request: Request) -> Act | None:
    """Return what a request for a file itself did: Lab's download, or what a page or another tab shows of it."""
    if request.method != "GET":
        return None
    downloaded = request.query.get("download") or request.path.endswith(".ipynb")
    return Act("file.download" if downloaded else "file.open", request.path)


def export_act(request: Request, exported: str) -> Act | None:
    """Return what a request for a notebook in another format did."""
    return Act("file.export", request.path, {"format": exported})


def restore_act(request: Request, checkpoint: str) -> Act | None:
    """Return what a request about one checkpoint did: taking it back changes the file, forgetting it does not."""
    return Act("file.restore", request.path, {"checkpoint": checkpoint}) if request.method == "POST" else None
