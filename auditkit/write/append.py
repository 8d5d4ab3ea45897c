"""Appending one event: validated, and handed to the writer.

Neither Arrow nor what maintains a trail is loaded until the queue has to be flushed.
"""

import time
from collections.abc import Mapping
from typing import Any

from auditkit.context import bound
from auditkit.errors import QueueFullError
from auditkit.event import OWN_SOURCE, Row, Rules
from auditkit.queue.group_commit import Writer
from auditkit.queue.receipts import Receipt
from auditkit.trail.handle import Handle
from auditkit.write.flush import flush


def append(handle: Handle, given: dict[str, Any], tz: str | None) -> Receipt:
    """Validate one event, with what is bound around the caller, and hand it to the writer."""
    context = bound()
    if context:
        given = {**context, **{name: value for name, value in given.items() if value is not None}}
    try:
        now_us = handle.clock.now_us()
        rules = Rules(now_us=now_us, max_ahead_us=handle.info.max_ahead_us, tz=tz)
        row = handle.schema.row(given, rules)
        if row[0] < handle.late.suspects_before_us(now_us):
            handle.late.check(row, now_us)
        return ready_writer(handle).append(row)
    except KeyboardInterrupt as exc:
        handle.after_interrupt(exc)
        exc.add_note("auditkit: this event may have been accepted; with an id it can be appended again")
        raise exc.with_traceback(None) from None


def append_own(
    handle: Handle,
    action: str,
    attrs: Mapping[str, Any],
    *,
    actor: str | None = None,
    resource: str | None = None,
) -> int:
    """Append one of the trail's own events and return its seq once it is durable."""
    row = own_row(handle, action, attrs, actor=actor, resource=resource)
    seq = handle.writing().submit([row]).wait()
    assert seq is not None  # noqa: S101 -- one event has a seq
    return seq


def own_row(
    handle: Handle,
    action: str,
    attrs: Mapping[str, Any],
    *,
    actor: str | None = None,
    resource: str | None = None,
    key: str | None = None,
) -> Row:
    """Return one of the trail's own events as a row; of two with one `key` and other attrs the second is refused."""
    given = {
        "action": action,
        "actor": actor,
        "resource": resource,
        "source": OWN_SOURCE,
        "attrs": attrs,
        "id": key,
    }
    return handle.schema.row(given, rules_of(handle, None), own=True)


def ready_writer(handle: Handle) -> Writer:
    """Return the writer, after draining a full backlog: the caller that finds it full drains it."""
    writer, queue, limits = handle.writer, handle.queue, handle.limits
    if writer is None or queue is None or handle.closed:
        writer, queue = handle.writing(), handle.active_queue()
    if queue.backlog_reached(limits.backlog_events, limits.backlog_bytes):
        if handle.limits.on_full == "raise" or not handle.can_query:
            raise QueueFullError(
                f"queue: the backlog of {handle.limits.backlog_events} events or bytes is full"
            )
        started = time.perf_counter()
        try:
            flush(handle)
        except Exception as exc:
            exc.add_note(
                "the backlog is full and cannot be flushed: this was not taken, what came before it is kept"
            )
            raise
        writer.counters.blocked_s += time.perf_counter() - started
    return writer


def rules_of(handle: Handle, tz: str | None) -> Rules:
    """Return what an event is validated against now; naive times are read in `tz`."""
    return Rules(now_us=handle.clock.now_us(), max_ahead_us=handle.info.max_ahead_us, tz=tz)
