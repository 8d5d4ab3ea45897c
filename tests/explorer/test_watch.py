"""Watching: what came is counted and shown, and an interrupt ends it with its last state."""

import _thread
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import auditkit as ak
from auditkit import Trail
from auditkit.errors import InvalidArgumentError, InvalidQueryError
from auditkit.explorer.watch import COLUMNS, MINUTE_S, Seen
from tests.reporting.material import PAYLOADS


@pytest.fixture
def trail(tmp_path: Path) -> Any:
    """An empty trail named `audit`."""
    with ak.create(tmp_path / "audit", tz="Europe/Stockholm") as made:
        yield made


def event(seq: int, outcome: str | None = "success", **given: Any) -> dict[str, Any]:
    """Return an event as a follower delivers it."""
    return {"seq": seq, **dict.fromkeys(COLUMNS), "ts": datetime.now(UTC), "outcome": outcome, **given}


def test_an_interrupt_ends_it_and_its_last_state_stays(
    trail: Trail, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no screen the last state is written: of what, how many came, which failed, and the newest first."""
    trail.append(action="before", actor="ann").wait()

    def append_and_interrupt() -> None:
        with ak.open(trail.path, maintain=False) as other:
            for number in range(200):
                other.append(
                    action=f"auth.{number}", actor="eve", outcome="AccessDenied", resource="<b>"
                ).wait()
                other.append(action="doc.read", actor="eve").wait()
        _thread.interrupt_main()

    appending = threading.Thread(target=append_and_interrupt)
    appending.start()
    assert trail.watch(where={"action": "auth.*"}, n=3) is None  # type: ignore[func-returns-value]
    appending.join()
    shown = capsys.readouterr().out
    assert "Watching audit ended after" in shown
    assert 'action is like "auth.*"' in shown
    assert "(100.0%)" in shown
    assert "before" not in shown
    assert "doc.read" not in shown
    newest = [line.split("auth.")[1] for line in shown.splitlines() if "✗ AccessDenied" in line]
    assert len(newest) == 3
    assert newest == sorted(newest, key=lambda line: -int(line.split()[0]))
    assert trail.append(action="after").wait() == 401  # it goes on being a trail like any other


def test_it_counts_failures_and_keeps_the_newest(trail: Trail) -> None:
    """However many come, so many stay; what counts as a failure is said by the patterns that are given."""
    seen = Seen(trail.view, 2, "all events", ["challenge"], "UTC")
    for seq, outcome in enumerate(["Challenge", "failure", None, *["success"] * 97]):
        seen.take(event(seq, outcome, action="auth.login", actor="eve"))
    card = str(seen.card())
    assert "100 events" in card
    assert "0 to 99" in card
    assert "1 (1.0%)" in card
    assert "auth.login by eve: Challenge" in card
    assert len(seen.rows()) == 2
    assert len(seen.card().spark) == MINUTE_S
    assert sum(seen.card().spark) == 100


def test_hostile_events_are_text(trail: Trail) -> None:
    """In a notebook every cell is escaped, and what has no look of its own is written out."""
    seen = Seen(trail.view, len(PAYLOADS), "all events", None, "UTC")
    for seq, text in enumerate(PAYLOADS):
        seen.take(event(seq, text, action=text, actor=text, resource=text))
    page = seen.page()
    for tag in ("<script", "<img", "<svg", "<iframe", "<meta", "<a ", "<style>", "<link", "<form", "<b"):
        assert tag not in page["text/html"].replace("<br", "")
    assert "gpj&lt;U+202E&gt;exe" in page["text/html"]
    assert not {"\u202e", "\x1b", "\u200b"} & set("".join(page.values()))


@pytest.mark.parametrize("given", [{"n": 0}, {"n": True}, {"duration_s": -1}, {"duration_s": float("nan")}])
def test_bad_numbers_are_refused(trail: Trail, given: dict[str, Any]) -> None:
    """They are named."""
    with pytest.raises(InvalidArgumentError, match=next(iter(given))):
        trail.watch(**given)


def test_what_cannot_be_watched_is_refused(trail: Trail) -> None:
    """A view of the past and a condition on what is not there."""
    trail.append(action="a").wait()
    with pytest.raises(InvalidQueryError, match="view of the past"):
        trail.at(1).watch()
    with pytest.raises(InvalidQueryError, match="actr"):
        trail.watch(where={"actr": "ann"}, duration_s=0)
