"""The events of a report's scope inside its page, so that a selection in any chart narrows every table.

They travel twice: through the notebook as values, and in the page as the text that its tables show.  Both times they
are columns with a dictionary each, as JSON, compressed by gzip, in base64; the page's own script unpacks them.  What
comes out of a notebook is not trusted: it is unpacked within bounds and checked before it is packed again.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise

import msgspec
import polars as pl

from auditkit.display.tables import bounded, second_digits
from auditkit.text import label
from auditkit.timerange import check_zone, from_us, utc_offset_us

MIME = "application/vnd.auditkit.events+json"
VERSION = 1
MOST_EVENTS = 20_000
"""A report takes along no more events."""
MOST_BYTES = 32_000_000
"""Nor events that take more room before they are compressed."""
TEXTS = ("actor", "action", "resource", "outcome", "source", "origin")
COLUMNS = ("seq", "ts", *TEXTS)
_GZIP = 16 + zlib.MAX_WBITS


class PackedColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column of text: its values, each once, and for each event which of them it is, -1 for null."""

    values: list[str]
    codes: list[int]


class Packed(msgspec.Struct, frozen=True, kw_only=True):
    """Events in the order of time; `ts` in microseconds since 1970 UTC."""

    version: int
    seq: list[int]
    ts: list[int]
    columns: dict[str, PackedColumn]

    @property
    def whole(self) -> bool:
        """Whether these are events of this version, and each has its place in every column."""
        count = len(self.seq)
        return (
            self.version == VERSION
            and count == len(self.ts) <= MOST_EVENTS
            and all(earlier <= later for earlier, later in pairwise(self.ts))
            and set(self.columns) == set(TEXTS)
            and all(
                len(column.codes) == count and all(-1 <= code < len(column.values) for code in column.codes)
                for column in self.columns.values()
            )
        )


def pack_events(frame: pl.DataFrame) -> str | None:
    """Return a frame with `COLUMNS`, in the order of time, as a notebook carries it; None where it is too large."""
    if frame.height > MOST_EVENTS:
        return None
    packed = Packed(
        version=VERSION,
        seq=frame["seq"].to_list(),
        ts=frame["ts"].dt.timestamp("us").to_list(),
        columns={name: _column(frame[name]) for name in TEXTS},
    )
    content = msgspec.json.encode(packed)
    return _compressed(content) if len(content) <= MOST_BYTES else None


def _column(column: pl.Series) -> PackedColumn:
    texts = column.cast(pl.String)
    values = [value for value in texts.unique(maintain_order=True).to_list() if value is not None]
    place = {value: code for code, value in enumerate(values)}
    return PackedColumn(
        values=[bounded(value) for value in values],
        codes=[-1 if value is None else place[value] for value in texts.to_list()],
    )


def unpack_events(data: object) -> Packed | None:
    """Return the events in a notebook's output, or None where it is not what this version writes."""
    if not isinstance(data, str):
        return None
    unpacking = zlib.decompressobj(_GZIP)
    try:
        content = unpacking.decompress(base64.b64decode(data, validate=True), MOST_BYTES)
        packed = msgspec.json.decode(content, type=Packed)
    except (binascii.Error, ValueError, zlib.error):
        return None
    return packed if packed.whole else None


def page_data(packed: Packed, zone: str) -> str:
    """Return events as the page's script reads them: labels in the place of values, times with the zone's offsets."""
    page = {
        "zone": zone,
        "digits": second_digits(us % 1_000_000 for us in packed.ts),
        "runs": list(_runs(packed.ts, zone)),
        "seq": list(_steps(packed.seq)),
        "ts": list(_steps(packed.ts)),
        "columns": {
            name: {"values": [label(value) for value in column.values], "codes": column.codes}
            for name, column in sorted(packed.columns.items())
        },
    }
    return _compressed(json.dumps(page, separators=(",", ":")).encode())


def _runs(ts: Sequence[int], zone: str) -> Iterator[tuple[int, int, str]]:
    """Yield how many events in a row have which offset, and what marks them where their hour comes twice."""
    info = check_zone(zone)

    def shown(us: int) -> tuple[int, str]:
        offset_us = utc_offset_us(us, info)
        local = from_us(us).astimezone(info)
        return offset_us, f" ({local:%Z})" if local.fold else ""

    for (offset_us, mark), events in groupby(map(shown, ts)):
        yield sum(1 for _ in events), offset_us, mark


def _steps(numbers: Sequence[int]) -> Iterator[int]:
    """Yield the first number, and how much each is more than the one before."""
    before = 0
    for number in numbers:
        yield number - before
        before = number


def _compressed(content: bytes) -> str:
    compressing = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    return base64.b64encode(compressing.compress(content) + compressing.flush()).decode()
