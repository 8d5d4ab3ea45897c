"""What lies in a trail's folder and is no file of its own is neither followed, nor waited for, nor written to."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from auditkit.api import Trail
from auditkit.backups import backup
from auditkit.disk.durable import PosixDisk
from auditkit.disk.inside import names_in, open_file, open_folder, read_file
from auditkit.errors import AuditError, CorruptionError
from auditkit.keep.compact import compact
from auditkit.opening import open_trail
from tests.disk.images import image
from tests.fakes import ManualClock

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder outside the trail, with a file and a folder with a file in it."""
    folder = tmp_path / "outside"
    (folder / "2026-11-24").mkdir(parents=True)
    (folder / "secret").write_text("of somebody else\n")
    (folder / "2026-11-24" / f"{0:020}-{1:020}-{'0' * 16}.arrow").write_text("of somebody else\n")
    return folder


@pytest.fixture
def used(make_trail: Callable[..., Trail], clock: ManualClock) -> Trail:
    """Return a trail with segments of two days, a dead letter, a consumer, and events in the queue."""
    trail = make_trail(retention="10d")
    trail.append(action="a", ts="2026-11-23T10:00:00Z").wait()
    trail.append(action="b").wait()
    trail.extend([{"action": ""}], on_invalid="dead-letter").wait()
    with trail.follow("mailer", start=0) as follower:
        next(iter(follower)).ack()
    trail.flush()
    trail.append(action="c").wait()
    clock.advance(seconds=5)
    return trail


def acknowledge_all(trail: Trail) -> None:
    """Take everything that is there for a consumer."""
    for delivery in trail.follow("mailer", timeout_s=0):
        delivery.ack()


def everything(trail: Trail, tmp_path: Path) -> Iterator[Callable[[], object]]:
    """Yield all that may be done to a trail, reading first."""
    yield lambda: trail.range()
    yield lambda: trail.scan().collect()
    yield lambda: trail.group_by("action", every="1h")
    yield lambda: trail.tail(1)
    yield lambda: str(trail.stats())
    yield lambda: trail.plan_prune()
    yield lambda: list(trail.follow(start=0, timeout_s=0))
    yield lambda: backup(trail, tmp_path / "copy")
    yield lambda: trail.append(action="x").wait()
    yield lambda: trail.extend([{"action": ""}], on_invalid="dead-letter").wait()
    yield lambda: acknowledge_all(trail)
    yield lambda: trail.flush()
    yield lambda: compact(trail.handle, least=2)
    yield lambda: trail.prune()
    yield lambda: trail.maintain()


FILES = {
    "queue file": lambda trail: trail.handle.layout.queue_file(trail.handle.layout.queue_files()[-1]),
    "later queue file": lambda trail: trail.handle.layout.queue_file(10**15),
    "segment": lambda trail: trail.handle.layout.segments / trail.handle.layout.segment_files()[0],
    "new segment": lambda trail: trail.handle.layout.segments / "2026-11-24" / "new.tmp",
    "catalog": lambda trail: trail.handle.layout.catalog,
    "new catalog": lambda trail: trail.path / "catalog.sqlite.tmp",
    "queue lock": lambda trail: trail.handle.layout.queue_lock,
    "maintenance lock": lambda trail: trail.handle.layout.maint_lock,
    "dead letters": lambda trail: trail.handle.layout.letter_files()[0][1],
    "consumer": lambda trail: trail.handle.layout.consumer_file("mailer"),
}
FOLDERS = {
    "queue": lambda trail: trail.handle.layout.queue,
    "segments": lambda trail: trail.handle.layout.segments,
    "partition": lambda trail: trail.handle.layout.segments / "2026-11-24",
    "new partition": lambda trail: trail.handle.layout.segments / "2020-01-01",
    "replaced": lambda trail: trail.handle.layout.replaced,
    "dead letters": lambda trail: trail.handle.layout.dead_letters,
    "consumers": lambda trail: trail.handle.layout.consumers,
}


def link(path: Path, outside: Path) -> None:
    """Put a link to a file elsewhere."""
    path.symlink_to(outside / "secret")


def dangling(path: Path, outside: Path) -> None:
    """Put a link to where nothing is."""
    path.symlink_to(outside / "nothing")


def fifo(path: Path, _outside: Path) -> None:
    """Put a FIFO that nobody writes to."""
    os.mkfifo(path)


def device(path: Path, _outside: Path) -> None:
    """Put a link to a device that never ends."""
    path.symlink_to("/dev/zero")


def folder(path: Path, _outside: Path) -> None:
    """Put a folder."""
    path.mkdir()


def bound(path: Path, _outside: Path) -> None:
    """Put a socket."""
    here = Path.cwd()
    os.chdir(path.parent)  # the names of sockets must be short
    try:
        with closing(socket.socket(socket.AF_UNIX)) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


@pytest.mark.parametrize("forge", [link, dangling, fifo, device, folder, bound])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_ends_in_an_error_and_reaches_nothing_outside(
    used: Trail, outside: Path, tmp_path: Path, name: str, forge: Callable[[Path, Path], None]
) -> None:
    """Whatever lies in the place of a file, every question and command is answered or raises, and acts inside only."""
    path = FILES[name](used)
    used.handle.close()
    if os.path.lexists(path):
        path.unlink()
    forge(path, outside)
    before, errors = image(outside), 0
    try:
        trail = open_trail(used.path, maintain=False, clock=used.handle.clock)
    except AuditError:
        assert name == "catalog"
        return
    for ask in everything(trail, tmp_path):
        try:
            ask()
        except AuditError:
            errors += 1
    assert image(outside) == before
    assert errors > 0 or name in ("new segment", "new catalog"), "nothing was refused"
    with suppress(AuditError):
        trail.close()


@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_in_the_place_of_a_folder_is_not_entered(
    used: Trail, outside: Path, tmp_path: Path, name: str
) -> None:
    """No file of another folder is read, written or removed because a trail's own folder is a link to it."""
    path = FOLDERS[name](used)
    used.handle.close()
    if path.exists():
        path.rename(tmp_path / "away")
    path.symlink_to(outside / "2026-11-24" if "partition" in name else outside)
    before, errors = image(outside), 0
    trail = open_trail(used.path, maintain=False, clock=used.handle.clock)
    for ask in everything(trail, tmp_path):
        try:
            ask()
        except AuditError:
            errors += 1
    assert image(outside) == before
    assert errors > 0, "nothing was refused"
    with suppress(AuditError):
        trail.close()


def test_asking_writes_nothing(used: Trail, tmp_path: Path) -> None:
    """Opening and asking leave every file and folder as it is: names, bytes, permissions and times."""
    used.close()
    before = image(used.path)
    with open_trail(used.path) as trail:
        asked = everything(trail, tmp_path)
        for _ in range(8):
            next(asked)()
        trail.at(1).range()
    assert image(used.path) == before


def test_links_to_the_folder_are_followed(used: Trail, tmp_path: Path) -> None:
    """Where a trail lies is its administrator's business: the folder may be reached through links."""
    (tmp_path / "elsewhere").symlink_to(used.path.parent)
    (tmp_path / "here").symlink_to(used.path)
    for path in (tmp_path / "here", tmp_path / "elsewhere" / used.path.name):
        with open_trail(path, maintain=False, clock=used.handle.clock) as trail:
            trail.append(action="by a link").wait()
            trail.flush()
    assert used.range()["action"].to_list().count("by a link") == 2


def test_a_file_with_another_name_is_not_written_to(used: Trail, tmp_path: Path) -> None:
    """What is appended to a file with two names would show up under the other one, outside."""
    ((_, letters),) = used.handle.layout.letter_files()
    os.link(letters, tmp_path / "outside")
    before = (tmp_path / "outside").read_bytes()
    with pytest.raises(CorruptionError, match="has another name"):
        used.extend([{"action": ""}], on_invalid="dead-letter")
    assert (tmp_path / "outside").read_bytes() == before


@pytest.mark.parametrize("name", ["../outside", "queue/../../outside", "/outside", "queue/missing"])
def test_a_path_that_leads_out_is_not_opened(tmp_path: Path, name: str) -> None:
    """A path with `..` is refused wherever it leads."""
    root = tmp_path / "root"
    (root / "queue").mkdir(parents=True)
    (tmp_path / "outside").write_text("x")
    with pytest.raises((CorruptionError, FileNotFoundError)):
        open_file(root / name, root)


def test_reading_is_bounded(tmp_path: Path) -> None:
    """A file larger than it may be is refused before any of it is read."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(CorruptionError, match="too large"):
        read_file(tmp_path / "sparse", tmp_path, most=1 << 20)
    (tmp_path / "small").write_bytes(b"abc")
    assert read_file(tmp_path / "small", tmp_path, most=3) == b"abc"


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    """Whether something is opened or refused, no descriptor is left."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "a" / "fifo")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("a/link", "a/fifo", "a/b", "a/link/x", "a/missing", "a/fifo/x"):
        for verb in (open_file, open_folder, names_in):
            try:
                found = verb(tmp_path / name, tmp_path)
            except (OSError, CorruptionError):
                continue
            if isinstance(found, int):
                os.close(found)
    disk = PosixDisk(tmp_path)
    for act in (disk.unlink, disk.sync_directory, disk.remove_directory_if_empty):
        with pytest.raises(CorruptionError):
            act(tmp_path / "a" / "link" / "x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
