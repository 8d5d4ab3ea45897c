"""How time and memory of a trail grow with its events: every step in a fresh process, whose peak memory is its own.

The events are those of the driver, made and stored 100,000 at a time, so that a large trail needs no large file beside it.
"""

import importlib.util
import multiprocessing
import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

ADAPTER = Path(__file__).with_name("auditkit_peer.py")
STEPS = ("ingest", "range", "group_by", "downsample", "lookup")
_HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step took in a process of its own; `base_bytes` is what the process had before it."""

    rows: int
    step: str
    seconds: float
    peak_bytes: int
    base_bytes: int


def loaded(driver: Path) -> ModuleType:
    """Return the driver as a module, with the trail among its peers."""
    os.environ["PEER_ADAPTER"] = str(ADAPTER)
    spec = importlib.util.spec_from_file_location("driver", driver)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{driver}: no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def grown(driver: Path, rows: int, place: Path) -> Iterator[Step]:
    """Yield what it takes to store `rows` events, and to ask them."""
    try:
        for step in STEPS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                yield pool.apply(_taken, (driver, rows, place, step))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _taken(driver: Path, rows: int, place: Path, step: str) -> Step:
    module = loaded(driver)
    trail = module.PEERS["auditkit"](str(place))
    trail.open()
    if step != "ingest":
        trail.first()  # what is loaded once is no part of the step
    base = _peak_bytes()
    seconds = _ingest(module, trail, rows) if step == "ingest" else _asked(module, trail, step)
    peak = _peak_bytes()
    trail.close()
    return Step(rows=rows, step=step, seconds=seconds, peak_bytes=peak, base_bytes=base)


def _ingest(module: ModuleType, trail: Any, rows: int) -> float:
    import pyarrow as pa

    taken = 0.0
    for number, start in enumerate(range(0, rows, module.CHUNK)):
        batch = module.make_chunk(number, min(module.CHUNK, rows - start), start, rows)
        begun = perf_counter()
        trail.write(pa.Table.from_batches([batch]))
        taken += perf_counter() - begun
    begun = perf_counter()
    trail.finish()
    return taken + perf_counter() - begun


def _asked(module: ModuleType, trail: Any, step: str) -> float:
    hour = module.T0 + 10 * module.US_DAY
    begun = perf_counter()
    if step == "range":
        trail.range(hour, hour + _HOUR_US)
    elif step == "lookup":
        trail.lookup("user00700@example.org")
    else:
        {"group_by": trail.group, "downsample": trail.downsample}[step]()
    return perf_counter() - begun


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
