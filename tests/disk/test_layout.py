"""Names: those that are made here are known again, and no others."""

from pathlib import Path

import pytest

from auditkit.disk.layout import Layout
from auditkit.errors import CorruptionError

SEGMENT = f"2026-11-24/{0:020}-{7:020}-{'0f' * 8}.arrow"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return the layout of an empty trail."""
    layout = Layout(tmp_path / "audit")
    for folder in layout.directories():
        folder.mkdir()
    return layout


@pytest.mark.parametrize("partition", ["2026-11-24", "2026-11-24T07", "2026-11"])
def test_a_segment_of_any_width_is_known_again(layout: Layout, partition: str) -> None:
    """The path that a segment is given leads to it."""
    path = layout.segment_name(partition, 0, 7, bytes(32))
    assert layout.segment_file(path) == layout.segments / path
    assert layout.replaced_file(path).parent == layout.replaced


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../../etc/passwd", f"../{SEGMENT}", f"/{SEGMENT}", f"{SEGMENT}/..", f"{SEGMENT}\n",
        SEGMENT.replace("2026-11-24", ".."), SEGMENT.replace("2026-11-24", "2026-11-24/.."), "2026-11-24/new.tmp",
        SEGMENT.replace("7-", "\u0667-"), SEGMENT.replace("/", "//"), SEGMENT + "\0", SEGMENT.upper(), "2026-11-24/",
        SEGMENT.split("/")[1], "2026-11-24/../../queue.lock",
    ],
)  # fmt: skip
def test_no_other_path_is_taken_from_a_catalog(layout: Layout, path: str) -> None:
    """What a catalog names lies in the folder of segments, or is damage that names the catalog."""
    for place in (layout.segment_file, layout.replaced_file):
        with pytest.raises(CorruptionError, match="names a segment by a path that is none") as caught:
            place(path)
        assert caught.value.path == layout.catalog


def test_only_names_that_are_made_here_are_found(layout: Layout) -> None:
    """Other names in the folders are not looked at."""
    partition = layout.segments / "2026-11-24"
    for folder in (partition, layout.segments / "other", layout.replaced, layout.consumers):
        folder.mkdir()
    ours = SEGMENT.split("/")[1]
    for name in (ours, "new.tmp", f"{ours}.bak", "notes.txt", "x.arrow"):
        (partition / name).touch()
        (layout.segments / "other" / name).touch()
        (layout.replaced / name).touch()
    for name in (
        f"{5:020}.wal",
        f"{3:020}.wal",
        "5.wal",
        f"{6:020}.tmp",
        "\u0660" * 20 + ".wal",
        "9" * 20 + ".wal",
    ):
        (layout.queue / name).touch()
    for name in ("2026-11-24.jsonl", "2026-11-23.jsonl", "retry.lock", "a.jsonl", "2026-11-24.jsonl~"):
        (layout.dead_letters / name).touch()
    for name in ("mailer.jsonl", "Mailer.jsonl", "a b.jsonl", "mailer", "x" * 65 + ".jsonl"):
        (layout.consumers / name).touch()
    assert layout.segment_files() == [SEGMENT, "2026-11-24/new.tmp"]
    assert [path.name for path in layout.replaced_files()] == [ours]
    assert layout.queue_files() == [3, 5]
    assert [day for day, _ in layout.letter_files()] == ["2026-11-23", "2026-11-24"]
    assert [name for name, _ in layout.consumer_files()] == ["mailer"]


def test_a_folder_that_is_made_by_its_first_file_may_be_missing(layout: Layout) -> None:
    """There are no replaced segments and no consumers before the first, and Git keeps no empty folder of dead letters."""
    assert layout.letter_files() == []
    assert layout.replaced_files() == []
    assert layout.consumer_files() == []
