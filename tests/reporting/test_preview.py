"""The path that a report comes back as: a path to programs, a summary in a notebook."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest

import auditkit as ak
from auditkit.reporting.cover import read_cover
from auditkit.reporting.preview import MIME, report_path
from tests.reporting.material import PAYLOADS, ROOT


def test_it_is_a_path_like_any_other(tmp_path: Path) -> None:
    """It compares, hashes, joins, opens, travels and reads as the path that it is."""
    shutil.copy(ROOT / "notebooks" / "overview.ipynb", tmp_path)
    made = ak.render(tmp_path / "overview.ipynb", tmp_path / "week.html")
    plain = tmp_path / "week.html"
    assert isinstance(made, Path)
    assert (made, str(made), os.fspath(made), hash(made)) == (plain, str(plain), str(plain), hash(plain))
    assert made.read_bytes() == plain.read_bytes()
    assert pickle.loads(pickle.dumps(made)) == plain  # noqa: S301 -- our own
    assert made.with_suffix(".pdf") == tmp_path / "week.pdf"
    for other in (made.parent, made.with_suffix(".pdf")):
        assert set(other._repr_mimebundle_()) == {"text/plain"}  # type: ignore[attr-defined]


def test_a_notebook_shows_what_the_report_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cover's title, answer and figures, and a link as seen from the kernel's folder; without a cover its name."""
    shutil.copy(ROOT / "notebooks" / "overview.ipynb", tmp_path)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    made = ak.render("../overview.ipynb", "../week #1.html")
    shown = made._repr_mimebundle_()  # type: ignore[attr-defined]
    assert shown[MIME]["title"] == "Who did what, when"
    assert shown[MIME]["answer"].startswith("13,178 events by 43 actors")
    assert shown[MIME]["figures"][0]["value"] == "13,178"
    assert shown[MIME]["href"] == "../week%20%231.html"
    assert '<a href="../week%20%231.html" target="_blank">' in shown["text/html"]
    assert shown["text/plain"] == "ReportPath('../week #1.html')"
    assert report_path(made, None)._repr_mimebundle_()[MIME]["title"] == "week #1"


def test_hostile_words_are_escaped(tmp_path: Path) -> None:
    """Whatever a cover says, in a notebook it is text."""
    outputs = json.loads((ROOT / "notebooks" / "overview.ipynb").read_text())["cells"]
    data = next(
        output["data"]["application/vnd.auditkit.cover+json"]
        for cell in outputs
        for output in cell.get("outputs", [])
        if "application/vnd.auditkit.cover+json" in output.get("data", {})
    )
    path = tmp_path / "x.html"
    path.touch()
    for text in PAYLOADS:
        figures = [{"name": text, "value": text, "note": text}]
        cover = read_cover({**data, "title": text, "answer": text, "figures": figures})
        html = report_path(path, cover)._repr_mimebundle_()["text/html"]
        assert text not in html or not set("<>&'\"\u202e\u200b\x1b\n") & set(text)
        assert html.startswith('<div class="tex2jax_ignore mathjax_ignore"')
