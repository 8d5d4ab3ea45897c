"""The durable, append-only buffer of accepted events that are not yet in segments."""

from auditkit.homes import names_from

_OF_WRITERS = ("active", "columns", "dedup", "writer")

__getattr__ = names_from(__name__, {name: f"{__name__}.{name}" for name in _OF_WRITERS})
