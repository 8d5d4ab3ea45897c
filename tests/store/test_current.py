"""The catalog as it is now: never an old one, and parsed once while nothing changes."""

import time

import pytest
from msgspec.structs import replace

from auditkit.api import Trail
from auditkit.errors import FormatError
from auditkit.store.catalog import read_catalog, replace_info
from auditkit.store.current import CurrentCatalog

LONG_NS = 3_000_000_000


def test_a_catalog_left_alone_is_parsed_once(trail: Trail) -> None:
    """Once the file is older than any clock's tick, the same reading is given until it changes."""
    path = trail.core.layout.catalog
    current = CurrentCatalog(path, now_ns=lambda: time.time_ns() + LONG_NS)
    first = current.read()
    assert current.read() is first
    trail.append(action="a").wait()
    trail.flush()
    assert current.read().flushed_seq == 1


def test_a_catalog_that_has_just_changed_is_read_again(trail: Trail) -> None:
    """A change within the tick of another, which leaves no mark of its own, is seen."""
    current = CurrentCatalog(trail.core.layout.catalog)
    for seq in range(4):
        trail.append(action="a").wait()
        trail.flush()
        assert current.read().flushed_seq == seq + 1


@pytest.mark.parametrize(("version", "advice"), [(0, "use an older auditkit"), (99, "use a newer auditkit")])
def test_a_catalog_of_another_format_is_refused(trail: Trail, version: int, advice: str) -> None:
    """The error names both formats and says which auditkit reads it."""
    path = trail.core.layout.catalog
    replace_info(path, replace(trail.core.info, format=version))
    with pytest.raises(FormatError, match=f"catalog format {version} .expected 1.; {advice}"):
        read_catalog(path)
