"""The durable, append-only buffer of accepted events that are not yet in segments."""
