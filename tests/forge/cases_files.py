"""Files of every kind that are something else: links, pipes, devices, sockets, folders, holes, nothing.

Also names that lead outside: of files, and in the catalog.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.forge.place import Place
from tests.forge.trails import edit, put, queue_files, rows_of

_TERABYTE = 1 << 40
TODAY, LATER_DAY = "2026-11-24", "2026-11-25"

Kind = Callable[[Path, Path, Place], None]
"""Puts something in the place of a file; given the file, and its copy outside."""


def _link_to_copy(path: Path, copy: Path, place: Place) -> None:
    del place
    path.symlink_to(copy)


def _link_to_secret(path: Path, copy: Path, place: Place) -> None:
    del copy
    path.symlink_to(place.outside / "secret.txt")


def _link_to_nothing(path: Path, copy: Path, place: Place) -> None:
    del copy
    path.symlink_to(place.outside / "not there")


def _link_to_zeros(path: Path, copy: Path, place: Place) -> None:
    del copy, place
    path.symlink_to("/dev/zero")


def _pipe(path: Path, copy: Path, place: Place) -> None:
    del copy, place
    os.mkfifo(path)


def _socket(path: Path, copy: Path, place: Place) -> None:
    del copy, place
    os.mknod(path, stat.S_IFSOCK | 0o600)


def _device(path: Path, copy: Path, place: Place) -> None:
    del copy, place
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/full")


def _folder(path: Path, copy: Path, place: Place) -> None:
    del copy, place
    path.mkdir()
    (path / "inside").write_text("something")


def _holes(path: Path, copy: Path, place: Place) -> None:
    if copy.is_file():
        shutil.copyfile(copy, path)
    with path.open("ab") as file:
        file.truncate(_TERABYTE)
    del place


def _empty(path: Path, copy: Path, place: Place) -> None:
    del copy, place
    path.touch()


def _zeros(path: Path, copy: Path, place: Place) -> None:
    del place
    path.write_bytes(bytes(copy.stat().st_size if copy.is_file() else 4096))


_KINDS: dict[str, Kind] = {
    "link to its copy": _link_to_copy,
    "link to a secret": _link_to_secret,
    "link to nothing": _link_to_nothing,
    "link to /dev/zero": _link_to_zeros,
    "pipe": _pipe,
    "socket": _socket,
    "device": _device,
    "folder": _folder,
    "terabyte of holes": _holes,
    "empty": _empty,
    "zeros": _zeros,
}

_EITHER = (("socket", "device"), ("empty", "zeros"), ("link to nothing", "link to /dev/zero"))
"""Kinds of which each file is made one."""

_FILES: dict[str, Callable[[Path], Path]] = {
    "catalog": lambda root: root / "catalog.sqlite",
    "catalog's journal": lambda root: root / "catalog.sqlite-journal",
    "catalog's wal": lambda root: root / "catalog.sqlite-wal",
    "catalog's temporary": lambda root: root / "catalog.tmp",
    "queue.lock": lambda root: root / "queue.lock",
    "maint.lock": lambda root: root / "maint.lock",
    "queue file": lambda root: queue_files(root)[0],
    "newest queue file": lambda root: queue_files(root)[-1],
    "one more queue file": lambda root: root / "queue" / f"{99_999:020}.wal",
    "queue file to be": lambda root: root / "queue" / f"{4_452:020}.wal",
    "queue's temporary": lambda root: root / "queue" / f"{4_452:020}.wal.tmp",
    "segment": lambda root: root / "segments" / rows_of(root, "segments")[0]["path"],
    "large segment": lambda root: root / "segments" / rows_of(root, "segments")[4]["path"],
    "segment's temporary": lambda root: root / "segments" / TODAY / "new.tmp",
    "one more segment": lambda root: root / "segments" / TODAY / f"{1:020}-{2:020}-{'0' * 16}.arrow",
    "replaced": lambda root: next((root / "replaced").iterdir()),
    "dead letters": lambda root: next((root / "dead-letters").glob("*.jsonl")),
    "dead letters to be": lambda root: root / "dead-letters" / f"{LATER_DAY}.jsonl",
    "retry.lock": lambda root: root / "dead-letters" / "retry.lock",
    "consumer": lambda root: root / "consumers" / "mailer.jsonl",
    "consumer to be": lambda root: root / "consumers" / "new.jsonl",
}
_FOLDERS: dict[str, Callable[[Path], Path]] = {
    "queue": lambda root: root / "queue",
    "segments": lambda root: root / "segments",
    "partition": lambda root: root / "segments" / TODAY,
    "oldest partition": lambda root: root / "segments" / "2026-11-20",
    "partition to be": lambda root: root / "segments" / LATER_DAY,
    "one more partition": lambda root: root / "segments" / "2020-01-01",
    "replaced folder": lambda root: root / "replaced",
    "dead letters' folder": lambda root: root / "dead-letters",
    "consumers' folder": lambda root: root / "consumers",
}
_FOLDER_KINDS = ("link to its copy", "link to the outside", "link to nothing", "pipe", "empty")


def _instead(find: Callable[[Path], Path], kind: Kind, place: Place) -> None:
    path = find(place.trail)
    copy = place.outside / "trail" / path.relative_to(place.trail)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    kind(path, copy, place)


def _link_to_outside(path: Path, copy: Path, place: Place) -> None:
    del copy
    path.symlink_to(place.outside / "empty")


def _kinds() -> Iterator[tuple[str, Callable[[Place], None]]]:
    for place, (what, find) in enumerate(_FILES.items()):
        without = {either[place % 2] for either in _EITHER}
        for kind, make in _KINDS.items():
            if kind in without:
                continue
            yield f"{what}: {kind}", partial(_instead, find, make)
    kinds = _KINDS | {"link to the outside": _link_to_outside}
    for what, find in _FOLDERS.items():
        for kind in _FOLDER_KINDS:
            yield f"{what}: {kind}", partial(_instead, find, kinds[kind])


# --- names that lead outside


def _bad_paths(place: Place, path: str) -> Iterator[tuple[str, str]]:
    """Yield paths to the copy outside of a segment."""
    lies = place.outside / "trail" / "segments" / path
    yield "up", f"../../outside/trail/segments/{path}"
    yield "absolute", str(lies)
    yield "through a partition", f"{TODAY}/../../../outside/trail/segments/{path}"
    yield "up from one", f"../../outside/trail/segments/{path.replace('/', '/./')}"


def _path_of(table: str, how: str, place: Place) -> None:
    row = rows_of(place.trail, table)[0]
    if table == "replaced":
        edit(place.trail, table, path=f"../replaced/../../outside/trail/segments/{how}", replaced_us=0)
        return
    edit(place.trail, table, path=dict(_bad_paths(place, row["path"]))[how])


def _odd_path(path: str, place: Place) -> None:
    edit(place.trail, "segments", path=path)


def _odd_replaced(path: str, place: Place) -> None:
    edit(place.trail, "replaced", path=path, replaced_us=0)


def _odd_partition(partition: str, place: Place) -> None:
    edit(place.trail, "segments", partition=partition)


def _partition_and_path(place: Place) -> None:
    """Merge small segments of a partition that lies outside."""
    rows = rows_of(place.trail, "segments")
    for row in rows[:3]:
        row |= {"partition": "../../outside/empty"}
    put(place.trail, "segments", rows)


def _links_in_partition(place: Place) -> None:
    """Add links, whose names match, to files outside."""
    folder = place.trail / "segments" / TODAY
    (folder / f"{5:020}-{6:020}-{'a' * 16}.arrow").symlink_to(place.outside / "secret.txt")
    (folder / "more").symlink_to(place.outside / "trail")


def _other_names(place: Place) -> None:
    """Add files with names that the package would never give."""
    for folder in ("queue", f"segments/{TODAY}", "replaced", "consumers", "dead-letters", "segments", "."):
        for name in ("notes.txt", "\x1b[31mred\x1b[0m", "a\nb.jsonl", "-rf", "x" * 200, "\udcff\udcfe.jsonl"):
            (place.trail / folder / name).write_text("not ours")


def _other_files_stay(place: Place) -> None:
    """Add files in a partition's folder that only look a little like ours; see the check in the driver."""
    (place.trail / "segments" / "notes").mkdir()
    (place.trail / "segments" / "notes" / "todo.txt").write_text("not ours")


def _days(place: Place) -> None:
    for day in ("0001-01-01", "9999-12-31", "2026-02-30", "2026-1-1", "\uff12026-11-24"):
        (place.trail / "dead-letters" / f"{day}.jsonl").write_text("not a letter\n")


def _queue_names(place: Place) -> None:
    for name in ("٤" * 20, "9" * 20, f"{(1 << 64) - 1:020}", f"{1 << 63:020}", "0" * 21):
        shutil.copyfile(queue_files(place.trail)[-1], place.trail / "queue" / f"{name}.wal")


def _hard_links(place: Place) -> None:
    """Let queue and dead letters be hard links to a file of somebody else: no one can tell, and nothing may break."""
    path = place.trail / "segments" / TODAY / "new.tmp"
    os.link(place.outside / "secret.txt", path)


def _link_as_trail(place: Place) -> None:
    """Let the trail's folder itself be a link: that is the administrator's business, and works."""
    shutil.move(place.trail, place.folder / "elsewhere")
    place.trail.symlink_to("elsewhere")


_ODD_PATHS = {
    "empty": "",
    "dot": ".",
    "dots": "..",
    "slash": "/",
    "NUL": "2026-11-20/a\0b.arrow",
    "long": "a" * 5_000,
    "newline": "2026-11-20/a\nb.arrow",
    "escape": "2026-11-20/\x1b[2J.arrow",
    "backslash": "..\\..\\outside",
    "catalog": "../catalog.sqlite",
    "queue.lock": "../queue.lock",
    "folder": "2026-11-20",
    "device": "../../../../../../../../dev/zero",
}
_PATHS: dict[str, Callable[[Place], None]] = {
    **{
        f"path of {table}: {how}": partial(_path_of, table, how)
        for table in ("segments", "tombstones")
        for how in ("up", "absolute", "through a partition", "up from one")
    },
    **{f"path of segments: {what}": partial(_odd_path, path) for what, path in _ODD_PATHS.items()},
    **{f"path of replaced: {what}": partial(_odd_replaced, path) for what, path in _ODD_PATHS.items()},
    **{
        f"partition: {what}": partial(_odd_partition, name)
        for what, name in {
            "up": "../../outside/empty",
            "absolute": "/dev/shm",
            "empty": "",
            "NUL": "a\0b",
            "another day": "2026-11-21",
            "no day": "2026-02-30",
            "hour": "2026-11-20T07",
        }.items()
    },
    "path of replaced: up": partial(_odd_replaced, "../../outside/secret.txt"),
    "path of replaced: absolute": lambda place: _odd_replaced(str(place.outside / "secret.txt"), place),
    "partition: small segments outside": _partition_and_path,
    "partition: links in it": _links_in_partition,
    "names: not ours": _other_names,
    "names: a folder not ours": _other_files_stay,
    "names: odd days": _days,
    "names: odd queue files": _queue_names,
    "segment's temporary: hard link": _hard_links,
}

FILE_CASES: dict[str, Callable[[Place], None]] = {**dict(_kinds()), **_PATHS}
