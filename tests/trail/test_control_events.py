"""What events of the trail's own may say that somebody forged."""

from typing import Any

import pytest

from auditkit.api import Trail
from auditkit.errors import AuditError
from auditkit.opening import open_trail
from auditkit.queue.frames import COMMIT_MARK, EVENTS, pack_frame
from auditkit.queue.payload import encode_rows

TS = 1_795_000_000_000_000


@pytest.mark.parametrize("action", ["retention.set", "retention.now"])
@pytest.mark.parametrize(
    "attrs",
    [
        None,
        "{",
        "[]",
        "[" * 100_000,
        '{"policy": 1, "now_us": "soon"}',
        '{"policy": "[[{}, 1]]", "now_us": 4611686018427387904}',
        '{"policy": "' + "[" * 9_000 + '", "now_us": ' + "9" * 6_000 + "}",
        '{"policy": "[[{\\"action\\": \\"*\\"}, \\"99999999999y\\"]]", "now_us": -1e400}',
    ],
)
def test_a_control_event_that_makes_no_sense_is_an_error_of_ours(
    trail: Trail, action: str, attrs: str | None
) -> None:
    """A policy or a moment that does not read is refused, however deep or large it is."""
    trail.append(action="a").wait()
    row: list[Any] = [TS, None, action, None, None, "auditkit", None, None, None, None, attrs, False]
    path = trail.handle.layout.queue_file(0)
    frames = pack_frame(EVENTS, 1, 1, recorded_us=TS, durable=64, payload=encode_rows([tuple(row)]))
    trail.close()
    data = path.read_bytes().rstrip(b"\0")
    mark = pack_frame(COMMIT_MARK, 2, 0, recorded_us=TS, durable=len(data) + len(frames))
    path.write_bytes(data + frames + mark)
    with pytest.raises(AuditError):
        open_trail(trail.path).stats()
