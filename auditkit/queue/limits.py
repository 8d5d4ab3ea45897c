"""How much a writer holds, and what happens at the bound."""

from typing import Literal

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds on what a writer holds, and what a caller that finds one reached does.

    `pending_*` bound what is accepted and not yet committed, `backlog_*` what is committed and not yet in segments.
    With `on_full="work"` the caller commits or flushes itself; with `"raise"` it gets `QueueFullError`.
    """

    pending_events: int = 20_000
    pending_bytes: int = 32 * 1024 * 1024
    backlog_events: int = 512 * 1024
    backlog_bytes: int = 256 * 1024 * 1024
    wait_s: float = 30.0
    on_full: Literal["work", "raise"] = "work"
