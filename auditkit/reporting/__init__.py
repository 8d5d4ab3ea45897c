"""Reports: a notebook states its scope, is run with parameters, and becomes one HTML file.

For notebooks: `cover` makes the first screen, `table` shows a frame and `listing` a value with fields, `story` draws a
timeline and `around` finds its window, `matching` finds names by patterns; `holds`,
`tiers`, `removals`, `dead_letters` and `pauses` are frames about keeping.  `ak.report` and `ak.render` make the file.
"""

from auditkit.display.tables import Table, listing, table
from auditkit.reporting.frames import around, pauses, story
from auditkit.reporting.keeping import (
    dead_letters,
    holds,
    kept_in_figures,
    kept_in_words,
    removals,
    tiers,
)
from auditkit.reporting.scope import Cover, cover
from auditkit.where.vocabulary import matching

__all__ = [
    "Cover",
    "Table",
    "around",
    "cover",
    "dead_letters",
    "holds",
    "kept_in_figures",
    "kept_in_words",
    "listing",
    "matching",
    "pauses",
    "removals",
    "story",
    "table",
    "tiers",
]
