"""A trail as a `LazyFrame`: planned when it is collected, for what is asked of it by then.

A scan shows the events before the seq that was the end when it was made, however often it is collected and whatever is
appended, flushed or compacted meanwhile.  Filters that come later on `ts` and on single values choose record batches as
those of a trail's own questions do.  Polars runs the scan on threads of its own, so those of this package only decode.
"""

from collections.abc import Iterator
from itertools import chain

import polars as pl
from polars.io.plugins import register_io_source

from auditkit.errors import AuditError
from auditkit.timerange import TimeRange
from auditkit.trail.decoded import frame_of
from auditkit.trail.decoding import events_of
from auditkit.trail.reading import events_of_tail, side_by_side
from auditkit.trail.source import Source, retrying
from auditkit.trail.wanting import Stretch, Wanted, stretches, wanted
from auditkit.where import implied


def scan_events(source: Source, window: TimeRange, *, at: int, allow_pruned: bool, own: bool) -> pl.LazyFrame:
    """Return the visible events before seq `at` whose `ts` lies in the window, text as `String`, unordered.

    Collecting raises `PrunedError` where events that it would show were pruned since, and `CorruptionError`.
    """
    schema = source.schema.columns

    def batches(
        columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        chosen = list(schema) if columns is None else columns
        roots = [] if predicate is None else predicate.meta.root_names()
        needed = list(dict.fromkeys([*chosen, *roots])) or ["seq"]
        # With a limit Polars wants the first rows, and of these the ones for which the predicate holds.
        bounds = None if n_rows is not None or predicate is None else implied(predicate)

        def plan() -> tuple[Wanted, list[Stretch]]:
            snapshot = source.snapshot(at, allow_pruned=allow_pruned)
            snapshot.refuse_pruned(window)
            reading = wanted(
                snapshot,
                window if bounds is None else window.intersection(bounds.window),
                own=own,
                columns=needed,
                texts=None if bounds is None else bounds.texts,
            )
            return reading, stretches(snapshot, reading.window, own=own)

        def begin() -> Iterator[pl.DataFrame]:
            reading, found = plan()
            events = side_by_side(lambda one: events_of(reading, source.files, one), found)
            first = next(events, None)  # what is gone by now is planned anew
            read = chain(() if first is None else (first,), events)
            frames = (frame_of(one) for one in read if one)
            return chain(frames, (events_of_tail(reading),))

        left = n_rows
        try:
            for frame in retrying(begin):
                if left is not None:
                    frame = frame.head(left)
                    left -= frame.height
                yield (frame if predicate is None else frame.filter(predicate)).select(chosen)
                if left == 0:
                    return
        except FileNotFoundError as exc:
            plan()  # says so where the events that are missing now were pruned
            error = AuditError(f"{exc.filename}: replaced while it was being read")
            error.add_note("collect the scan again")
            raise error from exc

    return register_io_source(
        batches,
        schema=dict(schema),
        is_pure=True,
        explain_name="auditkit",
        explain_detail=str(source.layout.root),
    )
