"""Bytes on disk: the durable verbs and the layout of a trail's directory."""
