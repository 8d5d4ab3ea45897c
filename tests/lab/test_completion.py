"""What Tab offers inside the calls of a trail."""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import auditkit as ak
from auditkit.api import Trail
from auditkit.ask import occurring
from auditkit.lab import completion
from tests.lab.shells import Kernel, plain_shell, run

HOSTILE = (
    'it\'s "quoted"',
    "back\\slash\\",
    "line\nbreak\t",
    "bidi\u202egnp.exe",
    "stars * and \\*",
    "é\u00a0ß",
    "{x}",
)


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trail]:
    """Return a trail with values of every kind."""
    with ak.create(tmp_path_factory.mktemp("completion") / "audit", retention="30y") as trail:
        for hour in range(3):
            trail.append(ts=f"2026-11-2{hour + 3}T07:00Z", action="doc.read", actor="ann", outcome="success")
        trail.append(ts="2026-11-24T08:00Z", action="doc.print", actor="bob", attrs={"user": {"name": "ann"}})
        numbers = {"status": 404, "ok": True, "user": {"name": "bob"}, "list": [1]}
        trail.append(ts="2026-11-24T09:00Z", action="auth.login", actor="anna", attrs=numbers)
        for value in HOSTILE:
            trail.append(ts="2026-11-24T10:00Z", action="odd", actor="x", resource=value)
        trail.hold("case-42", reason="lawsuit")
        trail.rollup("1h", by="action", name="hourly")
        yield trail


@pytest.fixture(scope="module")
def shell(trail: Trail, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    """Return a shell with the extension, and the trail under many names."""
    with plain_shell(tmp_path_factory.mktemp("shell")) as shell:
        shell.user_ns |= {
            "ak": ak,
            "attr": ak.attr,
            "trail": trail,
            "trails": {"mine": trail},
            "holder": SimpleNamespace(trail=trail),
            "other": SimpleNamespace(range=None),
        }
        yield shell


def offered(shell: InteractiveShell, code: str) -> list[str]:
    """Return the code that each offer would make, without what was typed before."""
    with provisionalcompleter():
        found = [one for one in shell.Completer.completions(code, len(code)) if one._origin == "auditkit"]
    return [one.text for one in found]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('trail.range(where={"act', ["actor", "action"]),
        (
            'trail.range(where={"attrs.',
            ["attrs.list", "attrs.ok", "attrs.status", "attrs.user", "attrs.user.name"],
        ),
        ('trail.range(where={"te', ["text"]),
        ('trail.range(where={"actor": "an', ["ann", "anna"]),
        ("trail.scan(where={'actor': ['bob', 'AN", ["ann", "anna"]),
        ('trail.follow(where={"actor": {"', ["not", "is"]),
        ('trail.range(where={"actor": {"not": ["b', ["bob"]),
        ('trail.range(where={"attrs.user.name": "', ["ann", "bob"]),
        ('trail.range(where={"attrs.status": ', ["404"]),
        ('trail.range(where={"attrs.ok": ', ["True"]),
        ('trail.range(where={"outcome": ', ['"success"']),
        ('trail.range(where={"seq": "', []),
        ('trail.group_by("o', ["outcome", "origin"]),
        ('trail.group_by(by=["action", "o', ["outcome", "origin"]),
        ('trail.group_by("action", every="1', ["1m", "15m", "1h", "1d", "1w", "1mo"]),
        ('trail.downsample("1h", by="attrs.u', ["attrs.user", "attrs.user.name"]),
        ('trail.range(columns=["ts", "rec', ["recorded"]),
        ('trail.range(start="2026', ["2026-11-25", "2026-11-23", "2026-11-26"]),
        ('trail.range("-1', ["-15m", "-1h", "-1d"]),
        ('trail.range(tz="Europe/Stock', ["Europe/Stockholm"]),
        ('trail.append(action="doc', ["doc.read", "doc.print"]),
        ('trail.append(action="x", attrs={"us', ["user"]),
        ('trail.release("', ["case-42"]),
        ('trail.tier("', ["hourly"]),
        ('trail.group_by("action", tier="', ["auto", "hourly"]),
        ('trail.at(3).range(where={"actor": "b', ["bob"]),
        ('trails["mine"].range(where={"actor": "b', ["bob"]),
        ('holder.trail.range(where={"actor": "b', ["bob"]),
        ('trail.scan().filter(ak.attr("st', ["status"]),
        ('pl.col("x") + attr("st', ["status"]),
        ('other.range(where={"act', []),
        ('trail.range(where=f"{', []),
        ("trail.range(", []),
        ("trail.ra", ["range"]),
        ("ak.ba", ["backup"]),
        ("%audit o", ["on", "off"]),
        ("%audit on --s", ["--source"]),
        ("%%audit --", ["--trail", "--out"]),
        ("%%audit --trail tr", ["trail"]),
        ("%%audit\nSELECT act", ["actor", "action"]),
        ("%%audit\nSELECT actor FROM ev", ["events"]),
    ],
)
def test_what_is_offered(shell: InteractiveShell, code: str, expected: list[str]) -> None:
    """Columns, paths, values by how often they occur, times and names, where they may stand."""
    assert offered(shell, code) == expected


def test_no_internal_names(shell: InteractiveShell, trail: Trail) -> None:
    """Tab on a trail and on the package shows what README documents, and nothing from within."""
    names = offered(shell, "trail.")
    assert names == dir(trail)
    assert {"range", "append", "tz"} <= set(names)
    assert not {"view", "handle"} & set(names)
    with provisionalcompleter():
        assert {one.text for one in shell.Completer.completions("ak.", 3)} == set(ak.__all__)


@pytest.mark.parametrize("quote", ['"', "'", '"""', 'r"', ""])
@pytest.mark.parametrize(
    ("before", "after"),
    [("trail.range(where={'resource': ", "}"), ("trail.range(where={'resource': [", "]}")],
)
def test_every_offer_finds_its_event(
    shell: InteractiveShell, trail: Trail, quote: str, before: str, after: str
) -> None:
    """What is offered, whatever it holds, is Python for a condition that finds the events with this value alone."""
    found = offered(shell, before + quote)
    assert len(found) == (1 if quote.startswith("r") else len(HOSTILE))
    for offer in found:
        code = before + quote + offer + quote.removeprefix("r") + after + ", columns=['resource'])"
        assert code.isprintable() or quote.startswith("r")
        assert eval(code, {"trail": trail})["resource"].n_unique() == 1  # noqa: S307 -- the code that Tab made


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.text(min_size=1, max_size=20))
def test_texts_become_python(value: str) -> None:
    """Any text reads as itself, and shows what it holds."""
    shown = completion._inside(value, completion._NEW)
    assert shown is not None
    assert ast.literal_eval(f'"{shown}"') == value
    assert shown.isprintable()


def test_nothing_is_called(shell: InteractiveShell) -> None:
    """Properties and calls of the notebook's own objects are left alone, and what raises offers nothing."""
    run(
        shell,
        "class Trap:\n    @property\n    def trail(self): raise SystemExit\n    def __call__(self): raise SystemExit\ntrap = Trap()",
    )
    assert offered(shell, 'trap.trail.range(where={"') == []
    assert offered(shell, 'trap().range(where={"') == []
    assert offered(shell, "trap.tr") == []


def test_a_closed_trail_offers_nothing(shell: InteractiveShell, tmp_path: Path) -> None:
    """A trail that does not answer is no error at the cursor."""
    shell.user_ns["closed"] = ak.create(tmp_path / "closed")
    shell.user_ns["closed"].close()
    assert offered(shell, 'closed.range(where={"actor": "') == []


def test_what_is_read_is_bounded(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the latest events are looked at where a trail has many or they have many values; at most so many are offered."""
    asked: list[bool] = []
    whole = occurring.occurring

    def noted(*given: Any, **named: Any) -> Any:
        asked.append(named.get("whole", True))
        return whole(*given, **named)

    monkeypatch.setattr(completion, "occurring", noted)
    offered(shell, 'trail.range(where={"actor": "')
    assert asked == [False, True]
    for name in ("MOST_COUNTED", "FEW"):
        with monkeypatch.context() as patch:
            patch.setattr(completion, name, 2)
            asked.clear()
            offered(shell, 'trail.range(where={"actor": "')
            assert asked == [False]
    monkeypatch.setattr(completion, "MOST_OFFERED", 2)
    assert offered(shell, 'trail.range(where={"actor": "') == ["x", "ann"]


def test_tab_and_shift_tab_in_a_kernel(tmp_path: Path) -> None:
    """A kernel answers what a notebook asks for at Tab and Shift-Tab: the place that is replaced, and the whole docstring."""
    with ak.create(tmp_path / "audit") as trail:
        trail.append(action="doc.read", actor="ann").wait()
        kernel = Kernel(trail, tmp_path)
        try:
            begin = "import auditkit as ak\ntrail = ak.open()\n%load_ext auditkit"
            assert kernel.run(begin)["status"] == "ok"
            code = 'rows = trail.range(\n    where={"actor": "a")'
            answer = kernel.ask("complete", code, len(code) - 2)
            assert (answer["matches"], answer["cursor_start"], answer["cursor_end"]) == (["ann"], 41, 42)
            shown = kernel.ask("inspect", "trail.range(", 11)["data"]["text/plain"]
            for words in ("Parameters", "Returns", "Raises", "Examples"):
                assert words in shown
        finally:
            kernel.end()
