"""What a receipt says of itself."""

import pytest

from auditkit.api import Trail
from auditkit.queue.receipts import Receipt


def test_it_says_what_became_of_the_events(trail: Trail) -> None:
    """How many events, and whether they are stored, where, and which of them were there already."""
    pending = trail.append(action="a")
    assert repr(pending) == "<Receipt: 1 event, not durable yet>"
    pending.wait()
    assert repr(pending) == "<Receipt: 1 event, seq 0>"
    keyed = [{"action": "a", "id": name, "ts": "2026-11-24T07:00:00Z"} for name in "xyz"]
    first = trail.extend(keyed[:2])
    first.wait()
    assert repr(first) == "<Receipt: 2 events, from seq 1 on>"
    for rows, words in (
        (keyed[:2], "2 events, repeated, from seq 1 on"),
        (keyed, "3 events, 2 of them repeated, from seq 3 on"),
    ):
        receipt = trail.extend(rows)
        receipt.wait()
        assert repr(receipt) == f"<Receipt: {words}>"
    assert repr(trail.extend([])) == "<Receipt: 0 events>"


@pytest.mark.parametrize("error", [OSError("no \x1b[31mspace"), ValueError("no \x1b[31mspace")])
def test_a_failure_is_told_safely(error: Exception) -> None:
    """What an error quotes does not act on a terminal."""
    receipt = Receipt(None, 1)  # type: ignore[arg-type]
    receipt.fail(error)
    assert repr(receipt) == "<Receipt: 1 event, failed: no <U+001B>[31mspace>"
