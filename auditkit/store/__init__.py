"""Sealed storage: Arrow IPC segments, and the catalog that says which of them count."""

from auditkit.homes import names_from

__getattr__ = names_from(__name__, {"filters": "auditkit.store.filters"})
