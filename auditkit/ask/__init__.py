"""The questions a trail answers."""
