"""The golden trail of format 1: every later version opens it, answers as the first one did, and goes on with it."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

import auditkit as ak
from auditkit.api import Trail
from tests.crashing import digest
from tests.golden.make import ANSWERS, TRAIL, answers, events, opened
from tests.oracle import read_trail

EXPECTED = json.loads(ANSWERS.read_text(encoding="utf-8"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the folder of a copy."""
    return Path(shutil.copytree(TRAIL, tmp_path / "audit"))


@pytest.fixture
def golden(root: Path) -> Trail:
    """Return a copy, open at the moment the trail was made."""
    return opened(root, EXPECTED["us"])


def differences(found: Any, expected: Any, place: str = "") -> list[str]:
    """Return where two values of JSON differ by more than the last bits of a sum."""
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        return [line for key in expected for line in differences(found[key], expected[key], f"{place}.{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for at, pair in pairs for line in differences(*pair, f"{place}[{at}]")]
    if isinstance(expected, float) and isinstance(found, float):
        return [] if math.isclose(found, expected, rel_tol=1e-12) else [f"{place}: {found}, not {expected}"]
    return [] if found == expected else [f"{place}: {found}, not {expected}"]


@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "us"])
def test_every_answer_is_what_it_was(golden: Trail, name: str) -> None:
    """What the trail answered when it was made it answers today, to the last microsecond."""
    found = json.loads(json.dumps(answers(golden, name)))
    assert differences(found, {name: EXPECTED[name]}) == []


def test_all_that_is_asked_is_kept(golden: Trail) -> None:
    """No answer is missing from the file, and asking writes nothing."""
    before = digest(golden.path)
    assert [name for name in EXPECTED if name != "us"] == list(answers(golden))
    assert digest(golden.path) == before


def test_the_files_are_what_the_format_says(root: Path) -> None:
    """The independent reader finds every checksum, digest, link and bound as they are described."""
    stored = read_trail(root)
    assert stored.end == EXPECTED["state"]["end_seq"]
    assert {row["format"] for row in stored.catalog["trail"]} == {1}


def test_the_trail_goes_on(golden: Trail, tmp_path: Path) -> None:
    """It knows its ids, delivers to its consumer, takes events, flushes, maintains, and is copied."""
    end = golden.end_seq
    repeated = golden.extend(events(golden.now(), 5, keyed="newest"))
    assert (repeated.wait(), repeated.duplicates) == (end - 5, 5)
    assert golden.append(action="single", id="a key", actor="ann", amount=2.5).wait() == 363
    assert golden.append(action="new", actor="다윤", pages=7).wait() == end
    with golden.follow("mailer", timeout_s=0, own=True) as follower:
        first = next(iter(follower))
        assert first.seq == EXPECTED["consumers"]["mailer"]
    before = golden.range(own=True)
    assert golden.flush().events == end + 1 - 428
    assert golden.range(own=True).equals(before)
    golden.maintain(compact=True)
    assert golden.range(own=True).equals(before)
    ak.backup(golden, tmp_path / "copy")
    assert ak.open(tmp_path / "copy").range(own=True).equals(before)
    golden.close()
    for folder in (golden.path, tmp_path / "copy"):
        assert len(read_trail(folder).events) == before.height
