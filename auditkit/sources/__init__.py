"""Where events come from: each module here turns one producer into events."""
