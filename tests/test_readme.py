"""What the README shows and names is there and works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import auditkit as ak
from auditkit.sources.presets import PRESETS

README = (Path(ak.__file__).parent.parent / "README.md").read_text()
OPERATIONS = re.findall(r"^\| (\w+) \| ([^|]+) \| ?([^|]*)\|$", README, re.MULTILINE)[1:]
NAMES = {"publish", "queue_stats", "insert", "range", "query", "downsample", "retention", "page", "render"}


def test_the_ten_lines_run(tmp_path: Path) -> None:
    """The block under "Ten lines" runs as it stands, and shows what it promises."""
    section = README.partition("## Ten lines")[2]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block is not None
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block[1]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "doc.read" in done.stdout
    events = ak.open(tmp_path / "audit").range(columns=["actor", "correlation", "attrs"])
    assert events.rows() == [("ann", "request-17", '{"bytes":512}'), ("bob", None, '{"lines":12}')]


SERVICES = re.findall(
    r"```python\n(.*?)```", README.partition("## Services")[2].partition("\n## ")[0], re.DOTALL
)


@pytest.mark.parametrize("block", SERVICES, ids=["logging", "structlog", "asgi"])
def test_the_blocks_for_services_run(tmp_path: Path, block: str) -> None:
    """Each block under "Services" runs as it stands where there is a trail; what it logs is an event."""
    ak.create(tmp_path / "audit").close()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = ak.open(tmp_path / "audit").range(columns=["actor", "action", "resource", "source"])
    assert events.rows() == ([] if "Starlette" in block else [("ann", "order.refund", "order/7", "shop")])


def test_the_table_of_operations_is_whole() -> None:
    """The table names every operation once."""
    assert {name for name, _, _ in OPERATIONS} == NAMES
    assert len(OPERATIONS) == len(NAMES)


@pytest.mark.parametrize(("name", "calls", "commands"), OPERATIONS)
def test_every_operation_is_there(name: str, calls: str, commands: str) -> None:
    """Each call that the table names exists, and each command has a help text with examples."""
    for method in re.findall(r"`trail\.(\w+)", calls):
        assert hasattr(ak.Trail, method), f"{name}: trail.{method}"
    for function in re.findall(r"`ak\.(\w+)", calls):
        assert hasattr(ak, function), f"{name}: ak.{function}"
    for command in re.findall(r"`auditkit ([\w-]+)", commands):
        done = subprocess.run(
            [sys.executable, "-m", "auditkit", command, "--help"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert f"auditkit {command}" in done.stdout


def test_the_table_of_presets_is_that_of_the_command() -> None:
    """The README names each preset, with the same words."""
    table = dict(
        re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|$", README.partition("## Importing")[2], re.MULTILINE)
    )
    assert {name: table.get(name) for name in PRESETS} == {
        name: preset.title for name, preset in PRESETS.items()
    }
