"""Sealed storage: Arrow IPC segments, and the catalog that says which of them count."""
