"""Reports: a notebook states its scope, is run with parameters, and becomes one HTML file.

For notebooks: `cover` makes the first screen, `table` shows a frame and `listing` a value with fields.  `ak.report` and `ak.render` make the file.
"""

from auditkit.reporting.front import Cover, cover
from auditkit.reporting.grid import Table, listing, table

__all__ = ["Cover", "Table", "cover", "listing", "table"]
