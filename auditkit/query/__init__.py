"""Questions about any frame of events, over whatever has a `ts` column.

`range`, `group_by` and `downsample` are what a trail's methods of the same names call, and so may notebooks and
workers of a cluster; `sessions`, `first_seen` and `compare` stand beside them, and `to_csv` takes an answer out.
"""

from auditkit.homes import names_from

_HOMES = {
    "UNFILLED": "auditkit.query.filling:UNFILLED",
    "Aggregations": "auditkit.query.aggregates:Aggregations",
    "By": "auditkit.query.keys:By",
    "Fill": "auditkit.query.filling:Fill",
    "compare": "auditkit.query.comparing:compare",
    "downsample": "auditkit.query.answers:downsample",
    "first_seen": "auditkit.query.firsts:first_seen",
    "group_by": "auditkit.query.answers:group_by",
    "in_range": "auditkit.query.frames:in_range",
    "kept": "auditkit.query.frames:kept",
    "limited": "auditkit.query.frames:limited",
    "range": "auditkit.query.answers:range",
    "range_columns": "auditkit.query.frames:range_columns",
    "sessions": "auditkit.query.pauses:sessions",
    "text_out": "auditkit.query.frames:text_out",
    "to_csv": "auditkit.query.sheet:to_csv",
}

__all__ = sorted(_HOMES)
__getattr__ = names_from(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
