"""The way in: append, extend, flush."""
