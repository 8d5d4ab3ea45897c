"""Bound context follows the code that appends."""

import asyncio
import threading

import pytest

from auditkit.context import bind, bound


def test_inner_blocks_win_and_end() -> None:
    """Blocks nest, the inner one wins, and leaving restores what was."""
    with bind(actor="ann", origin="here"):
        with bind(actor="bob"):
            assert dict(bound()) == {"actor": "bob", "origin": "here"}
        assert bound()["actor"] == "ann"
    assert not bound()


def test_unknown_names_are_refused() -> None:
    """A name that is no context field raises at once."""
    with pytest.raises(TypeError, match="unknown field 'value'"), bind(value="3"):
        pass


def test_tasks_keep_their_own_context() -> None:
    """Two tasks that run interleaved see their own actor only."""

    async def act(name: str, turn: asyncio.Event, other: asyncio.Event) -> str | None:
        with bind(actor=name):
            other.set()
            await turn.wait()
            return bound()["actor"]

    async def both() -> list[str | None]:
        first, second = asyncio.Event(), asyncio.Event()
        return list(await asyncio.gather(act("ann", first, second), act("bob", second, first)))

    assert asyncio.run(both()) == ["ann", "bob"]


def test_threads_start_without_it() -> None:
    """A new thread does not inherit what its creator has bound."""
    seen = []
    with bind(actor="ann"):
        thread = threading.Thread(target=lambda: seen.append(dict(bound())))
        thread.start()
        thread.join()
    assert seen == [{}]
