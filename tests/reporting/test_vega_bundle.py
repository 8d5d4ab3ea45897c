"""Vega as one script: kept once made, and never believed when it was changed."""

from pathlib import Path

import pytest

from auditkit.reporting.exporter import cache_folder, vega_bundle


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this user's programs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "auditkit"


def test_a_cached_bundle_is_believed_only_whole(cache: Path) -> None:
    """The script is kept privately under its version; a copy that was changed or cut is made anew."""
    made = vega_bundle.__wrapped__()
    (kept,) = cache.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.read_text(encoding="utf-8").endswith(made)
    for damaged in (kept.read_text(encoding="utf-8").replace("vegaEmbed", "vegaembed"), "", "\n"):
        kept.write_text(damaged, encoding="utf-8")
        assert vega_bundle.__wrapped__() == made
    assert kept.read_text(encoding="utf-8").endswith(made)
    assert [path.name for path in cache.iterdir()] == [kept.name]


def test_a_script_cannot_end_its_element(cache: Path) -> None:
    """Nothing in it is the end of a script, or a comment of HTML, and it leaves one name behind."""
    made = vega_bundle.__wrapped__().lower()
    assert "</script" not in made
    assert "<!--" not in made
    assert made.startswith("/*")
    assert "*/\n(function () {" in made
    assert cache.is_dir()


def test_no_cache_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no folder can be made the script is made all the same."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "vegaEmbed" in vega_bundle.__wrapped__()


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative XDG_CACHE_HOME counts for nothing, as its specification says."""
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/home/ann/.cache/auditkit")
