"""`%load_ext auditkit`, `%audit` and `%%audit`."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import auditkit as ak
from auditkit.api import Trail
from tests.lab.shells import plain_shell, run


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    """Return a trail of three events."""
    with ak.create(tmp_path / "audit") as trail:
        trail.append(action="doc.read", actor="ann")
        trail.append(action="doc.read", actor="bob", value=2.5)
        trail.append(action="doc.print", actor='it\'s "ann"').wait()
        yield trail


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Return a shell with the extension, whose notebook has no trail yet."""
    monkeypatch.delenv("AUDITKIT_TRAIL", raising=False)
    with plain_shell(tmp_path) as shell:
        yield shell


def test_sql_in_a_cell(shell: InteractiveShell, trail: Trail) -> None:
    """`%%audit` answers a query, with the notebook's variables for its parameters, whatever they hold; `--out` keeps the answer."""
    shell.user_ns |= {"trail": trail, "who": 'it\'s "ann"', "least": 1}
    query = "SELECT actor FROM events WHERE actor = $who AND '$least' <> 'x' -- $least"
    assert run(shell, f"%%audit\n{query}").rows() == [('it\'s "ann"',)]
    assert run(shell, "%%audit --out kept\nSELECT count(*) AS n FROM events") is None
    assert shell.user_ns["kept"].rows() == [(3,)]
    assert isinstance(run(shell, "%%audit --out 'a b'\nSELECT 1"), UsageError)
    missing = run(shell, "%%audit\nSELECT $nobody")
    assert isinstance(missing, ak.errors.InvalidQueryError)
    assert "nobody" in str(missing)
    assert isinstance(run(shell, "%%audit\nSELEC"), ak.errors.InvalidQueryError)


def test_which_trail_is_meant(
    shell: InteractiveShell, trail: Trail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable or path after `--trail`, the variable `trail`, the environment, in this order; none is an error that names all."""
    query = "\nSELECT count(*) AS n FROM events"
    nowhere = run(shell, f"%%audit{query}")
    assert isinstance(nowhere, ak.errors.TrailNotFoundError)
    assert "--trail" in nowhere.__notes__[-1]
    monkeypatch.setenv("AUDITKIT_TRAIL", str(trail.path))
    assert run(shell, f"%%audit{query}").item() == 3
    with ak.create(tmp_path / "other") as other:
        shell.user_ns |= {"trail": other, "mine": trail}
        assert run(shell, f"%%audit{query}").item() == 0
        assert run(shell, f"%%audit --trail mine{query}").item() == 3
        assert run(shell, f"%%audit --trail {trail.path}{query}").item() == 3
        missing = run(shell, f"%%audit --trail {tmp_path / 'missing'}{query}")
        assert isinstance(missing, ak.errors.TrailNotFoundError)


def test_on_off_status(shell: InteractiveShell, trail: Trail) -> None:
    """The line magic says what it does, whatever the state; what it does not know is refused by name."""
    assert repr(run(shell, "%audit status")) == "not recording cells; %audit on does"
    assert repr(run(shell, "%audit off")) == "not recording cells; %audit on does"
    said = repr(run(shell, f"%audit on --trail {trail.path}"))
    assert said == f"recording cells, with the SHA-256 of their source, into {trail.path}"
    run(shell, "open('/dev/null').close()")
    assert "2 cells and 1 event they caused" in repr(run(shell, "%audit status"))
    assert repr(run(shell, "%audit off")).startswith("recorded cells")
    for wrong in ("%audit", "%audit onn", "%audit on --out x", "%audit SELECT 1"):
        assert isinstance(run(shell, wrong), UsageError), wrong


def test_help(shell: InteractiveShell) -> None:
    """`%audit?` says what there is."""
    found = shell.object_inspect_mime("audit")["text/plain"]  # type: ignore[no-untyped-call]
    for word in (
        "%audit on [--trail TRAIL] [--source]",
        "%audit off",
        "%audit status",
        "%%audit",
        "AUDITKIT_TRAIL",
    ):
        assert word in found


def test_unloading_takes_all_away(shell: InteractiveShell, trail: Trail) -> None:
    """`%unload_ext auditkit` ends a recording, and takes the magics away; loading it again brings them back."""
    run(shell, f"%audit on --trail {trail.path}")
    run(shell, "%unload_ext auditkit")
    assert trail.range(where={"action": "audit.*"})["action"].to_list() == ["audit.on", "audit.off"]
    assert not any("audit" in magics for magics in shell.magics_manager.magics.values())
    run(shell, "%load_ext auditkit")
    run(shell, "%reload_ext auditkit")
    assert isinstance(run(shell, f"%%audit --trail {trail.path}\nSELECT 1 AS one"), pl.DataFrame)
    assert "load_ipython_extension" not in dir(ak)
