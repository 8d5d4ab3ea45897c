"""The trail: one facade, `Trail`, over its themes.

Those named here are imported when they are first used: who looks need not wait for what counts, writes and keeps.
"""

from auditkit.homes import names_from

_THEMES = (
    "accepting",
    "appending",
    "copying",
    "counting",
    "declaring",
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
