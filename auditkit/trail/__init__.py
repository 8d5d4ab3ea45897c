"""The trail: one facade, `Trail`, over its themes.

These are imported when the facade first hands over to them: who asks need not wait for what writes and keeps.
"""

from auditkit.homes import names_from

_THEMES = (
    "accepting",
    "appending",
    "copying",
    "counting",
    "decoded",
    "decoding",
    "deliveries",
    "figures",
    "follow",
    "founding",
    "keeping",
    "pruning",
    "scanning",
    "showing",
    "state",
    "writing",
)

__getattr__ = names_from(__name__, {theme: f"{__name__}.{theme}" for theme in _THEMES})
