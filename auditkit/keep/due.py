"""When maintenance is due: a look that costs little, for whoever looks often."""

from time import monotonic

from auditkit.trail.handle import Core

FLUSH_AT_EVENTS = 128 * 1024
FLUSH_AT_BYTES = 32 * 1024 * 1024
FLUSH_AFTER_S = 15 * 60
LOOK_EVERY_S = 30.0


def flush_is_due(core: Core) -> bool:
    """Say whether the queue is large or old enough for a flush."""
    view = core.source.tail.read()
    if view.events.height >= FLUSH_AT_EVENTS or view.size_bytes >= FLUSH_AT_BYTES:
        return True
    oldest = view.oldest_recorded_us
    return oldest is not None and core.clock.now_us() - oldest >= FLUSH_AFTER_S * 1_000_000


def maintenance_is_due(core: Core) -> bool:
    """Say the same to the writer's thread, which looks closely only every `LOOK_EVERY_S` seconds.

    In between it goes by what this process knows of the queue's end.
    """
    queue, now = core.active_queue(), monotonic()
    if now < core.next_look and not queue.backlog_reached(FLUSH_AT_EVENTS, FLUSH_AT_BYTES):
        return False
    core.next_look = now + LOOK_EVERY_S
    return flush_is_due(core)
