"""The cases: what is done to a trail, by name, `<where>: <what>`."""

from collections.abc import Callable

from tests.forge.cases_catalog import CATALOG_CASES
from tests.forge.cases_files import FILE_CASES
from tests.forge.cases_lines import LINE_CASES
from tests.forge.cases_queue import QUEUE_CASES
from tests.forge.cases_rollups import ROLLUP_CASES
from tests.forge.cases_segments import SEGMENT_CASES
from tests.forge.place import Place

CASES: dict[str, Callable[[Place], None]] = {
    "nothing": lambda _: None,
    **FILE_CASES,
    **CATALOG_CASES,
    **SEGMENT_CASES,
    **ROLLUP_CASES,
    **QUEUE_CASES,
    **LINE_CASES,
}
