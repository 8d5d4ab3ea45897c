"""SQL over the events of a view, answered by DuckDB with nothing but them in its reach.

Each question has a DuckDB of its own, in memory: without files, network, temporary files, settings that can be changed
or Python variables, and with the view's zone as its own.  DuckDB takes from the scan the columns and conditions that
it can hand down, but no LIMIT, and holds what is left in memory.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from auditkit.ask.scan import scanned
from auditkit.errors import AuditError, InvalidQueryError
from auditkit.memory import available_memory
from auditkit.text import size
from auditkit.timerange import EVERYTHING
from auditkit.trail.events import Guard
from auditkit.trail.view import View

try:
    import duckdb
    from duckdb.sqltypes import DuckDBPyType
except ModuleNotFoundError as exc:
    missing = AuditError("sql: DuckDB, which answers it, is not installed")
    missing.add_note("install it: pip install '.[sql]', or auditkit-trail[sql]")
    raise missing from exc

T = TypeVar("T")
Params = Mapping[str, Any] | Sequence[Any] | None

MOST_CHARACTERS = 20_000
"""How long a query may be: what DuckDB takes to plan one grows faster than its length."""
MOST_DEEP = 200
"""How deep expressions and queries may be nested."""
_MEMORY_SHARE = 0.25
_GRACE_S = 2.0
"""How long an interrupted query may take to end; planning cannot be interrupted."""
_STEP_S = 0.2
_BATCH_ROWS = 2048
"""Rows of an answer that are taken at a time: each may hold texts of a megabyte."""
_STACK_BYTES = 512 << 20
"""Address space for DuckDB's recursions over a value: casting 1 MiB of nested JSON to VARIANT takes 440 MB of it."""
_STACK_LOCK = threading.Lock()

_PLAIN = frozenset(
    [
        "boolean",
        "tinyint",
        "smallint",
        "integer",
        "bigint",
        "utinyint",
        "usmallint",
        "uinteger",
        "ubigint",
        "float",
        "double",
        "decimal",
        "varchar",
        "json",
        "uuid",
        "blob",
        "date",
        "time",
        "time_ns",
        "timestamp",
        "timestamp_s",
        "timestamp_ms",
        "timestamp_ns",
    ]
) | {"timestamp with time zone", "NULL"}
_NESTED = frozenset({"list", "array", "struct"})
_VALUES_NOTE = (
    "values inside attrs: attrs->>'$.user.name'; values of your own: actor = $who with params={'who': '12345'}, text "
    "for text, which on the command line is --param who='\"12345\"'"
)


def sql(view: View, query: str, params: Params, *, own: bool, timeout_s: float | None) -> pl.DataFrame:
    """See `Trail.sql`."""
    if len(query) > MOST_CHARACTERS:
        reason = f"is longer than {MOST_CHARACTERS:,} characters ({len(query):,}); hand lists over as params"
        raise InvalidQueryError("sql", query, reason)
    guard = Guard(name="sql")
    events = scanned(view, EVERYTHING, own=own, tz=view.tz, guard=guard)
    try:
        connection = _connected(events, view.tz)
        answer = _started(lambda: _answer(connection, query, params))
        try:
            return _awaited(answer, timeout_s)
        except (TimeoutError, KeyboardInterrupt) as exc:
            guard.stopped = True
            connection.interrupt()
            wait(
                [answer], _GRACE_S
            )  # a thread that is planning still ends by itself, and nothing waits for it
            if isinstance(exc, KeyboardInterrupt):
                raise
            late = InvalidQueryError("sql", query, f"took longer than {timeout_s:g} s")
            late.add_note("ask for less, or give it longer: timeout_s=..., --timeout")
            raise late from None
    except AuditError:
        raise
    except (
        duckdb.Error,
        pl.exceptions.PolarsError,
        pa.ArrowException,
        OSError,
    ) as exc:  # OSError: Arrow's streams
        if guard.failure is not None:
            raise guard.failure from exc
        first, *more = str(exc).splitlines() or [type(exc).__name__]
        error = InvalidQueryError("sql", query, first)
        for note in (
            *[line for line in more if line.startswith(("Candidate bindings", "Did you mean"))],
            _times_note(view.tz),
            _VALUES_NOTE,
        ):
            error.add_note(note)
        raise error from exc


def parameters(query: str) -> set[str]:
    """Return the names of the parameters of a query, `$who`; none of one that does not read."""
    try:
        return {name for statement in duckdb.extract_statements(query) for name in statement.named_parameters}
    except duckdb.Error:
        return set()


def _times_note(tz: str) -> str:
    return (
        f"times: ts >= '2026-11-24', ts::date and date_trunc('day', ts) are in {tz}; by the hour, "
        f"time_bucket(INTERVAL '1 hour', ts, '{tz}') is right also where clocks change, and date_trunc is not"
    )


def _connected(events: pl.LazyFrame, tz: str) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB that has the table `events` and no way to anything else."""
    connection = duckdb.connect(
        config={
            "enable_external_access": "false",
            "arrow_large_buffer_size": "true",
            "temp_directory": "",
            "python_enable_replacements": "false",
            "max_expression_depth": str(MOST_DEEP),
            "memory_limit": f"{int(available_memory() * _MEMORY_SHARE)}B",
            "threads": "1",  # so that all runs in the thread with the deep stack; the scan has threads of its own
        }
    )
    connection.register("events", events)
    connection.execute("SET TimeZone = '" + tz.replace("'", "''") + "'")
    connection.execute("SET lock_configuration = true")
    return connection


def _started(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a thread of its own, with a stack that no nested value exhausts."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as exc:
            future.set_exception(exc)

    with _STACK_LOCK:
        before = threading.stack_size(_STACK_BYTES)
        try:
            threading.Thread(target=run, name="auditkit-sql").start()
        except RuntimeError as exc:
            raise AuditError(f"sql: no thread with a stack of {size(_STACK_BYTES)} can be started") from exc
        finally:
            threading.stack_size(before)
    return future


def _awaited(answer: Future[T], timeout_s: float | None) -> T:
    """Return the answer; wait in small steps, because Polars has a wait restarted that Ctrl-C interrupts."""
    end = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while not answer.done():
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        wait([answer], min(left, _STEP_S))
    return answer.result()


def _answer(connection: duckdb.DuckDBPyConnection, query: str, params: Params) -> pl.DataFrame:
    with connection:
        statements = connection.extract_statements(query)
        if [statement.type.name for statement in statements] != ["SELECT"]:
            found = ", ".join(statement.type.name for statement in statements) or "nothing"
            raise InvalidQueryError("sql", query, f"only SELECT is answered, and only one (here: {found})")
        given = dict(params) if isinstance(params, Mapping) else None if params is None else list(params)
        answer = connection.sql(statements[0], params=given)
        names, types = answer.columns, answer.types
        if len(set(names)) < len(names):
            raise InvalidQueryError("sql", query, "two columns have one name; give one another: ... AS name")
        columns = [_column(name, dtype) for name, dtype in zip(names, types, strict=True)]
        reader = answer.project(", ".join(columns)).to_arrow_reader(_BATCH_ROWS)
        frame = pl.DataFrame(pa.Table.from_batches(_fitting(reader, query), reader.schema))
        spans = [name for name, dtype in zip(names, types, strict=True) if dtype.id == "interval"]
        return frame.with_columns(pl.col(spans).cast(pl.Duration("us")))


def _column(name: str, dtype: DuckDBPyType) -> str:
    """Return what selects a column as a type that frames have: wide sums as Int64, what has none as text."""
    quoted = '"' + name.replace('"', '""') + '"'
    if _is_plain(dtype):
        return quoted
    if dtype.id == "interval":
        return f"epoch_us({quoted}) AS {quoted}"
    return f"{quoted}::{'BIGINT' if dtype.id in ('hugeint', 'uhugeint') else 'VARCHAR'} AS {quoted}"


def _is_plain(dtype: DuckDBPyType) -> bool:
    """Return whether a type, with all that is nested in it, has its like in Polars."""
    if dtype.id not in _NESTED:
        return dtype.id in _PLAIN
    return all(_is_plain(inner) for _, inner in dtype.children if isinstance(inner, DuckDBPyType))


def _fitting(reader: pa.RecordBatchReader, query: str) -> Iterator[pa.RecordBatch]:
    """Pass the batches of an answer on while all of them together fit into memory."""
    taken, most = 0, available_memory() * _MEMORY_SHARE
    for batch in reader:
        taken += batch.nbytes
        if taken > most:
            raise InvalidQueryError("sql", query, "its answer does not fit into memory; ask for less")
        yield batch
