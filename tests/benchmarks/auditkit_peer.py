"""auditkit as one of the peers of a shared benchmark driver, which executes this file with its names in scope.

Columns of the workload are mapped to the event: `source_ip` is origin, `severity` and `event_id` are declared
fields, because producers of the workload repeat nothing and ask for no idempotency.  As in the driver's own adapters,
libraries are imported where they are used, so that whoever opens a store pays for its own.
"""

import shutil
from pathlib import Path


@peer
class Auditkit(Peer):
    """The trail, with its defaults."""

    name = module = "auditkit"
    commit = "fdatasync of the queue, or fsync of segments and catalog"

    def open(self):
        """Open the trail, or create it."""
        import polars as pl

        import auditkit as ak
        from auditkit.errors import TrailNotFoundError

        fields = {"event_id": pl.String, "severity": pl.Int64}
        try:
            self.trail = ak.open(self.root)
        except TrailNotFoundError:
            shutil.rmtree(self.root, ignore_errors=True)
            self.trail = ak.create(self.root, fields=fields)

    def close(self):
        """Close the trail."""
        self.trail.close()

    def _renamed(self, table):
        import polars as pl

        named = table.drop_columns("seq").rename_columns({"source_ip": "origin", "id": "event_id"})
        digits = pl.Series(named["event_id"]).bin.encode("hex").to_arrow()
        return named.set_column(named.column_names.index("event_id"), "event_id", digits)

    def write(self, table):
        """Commit a table."""
        self.trail.extend(self._renamed(table)).wait()

    def _accept(self, ev):
        return self.trail.append(
            ts=ev["ts"], actor=ev["actor"], action=ev["action"], resource=ev["resource"], outcome=ev["outcome"],
            origin=ev["source_ip"], value=ev["value"], attrs=ev["attrs"], event_id=ev["id"].hex(),
            severity=ev["severity"],
        )  # fmt: skip

    def append(self, ev):
        """Commit one event."""
        self._accept(ev).wait()

    def buffer(self, ev):
        """Accept one event."""
        self.last = self._accept(ev)

    def flush(self):
        """Commit what is accepted."""
        self.last.wait()

    def finish(self):
        """Bring everything into segments."""
        self.trail.maintain()

    def range(self, a, b):
        """Return how many events a window holds, all columns read."""
        return self.trail.range(to_dt(a), to_dt(b)).height

    def group(self):
        """Count per action and hour."""
        frame = self.trail.group_by("action", every="1h", aggs=("count",))
        return frame.height, frame["count"].sum()

    def downsample(self):
        """Downsample the value to a minute by action."""
        frame = self.trail.downsample("1m", by="action", aggs=("mean", "min", "max", "value_count"))
        return frame.height, frame["value_count"].sum()

    def lookup(self, actor):
        """Return one actor's events."""
        return self.trail.range(where={"actor": [actor]}).height

    def delete_before(self, t):
        """Drop what is older than `t`."""
        days = (T0 + DAYS * US_DAY - t) // US_DAY
        self.trail.set_retention(f"{days}d")
        self.trail.prune()

    def first(self):
        """Return the first row."""
        return self.trail.range(limit=1).row(0)

    def size(self):
        """Return the bytes of everything in the trail's directory."""
        return sum(p.stat().st_blocks * 512 for p in Path(self.root).rglob("*") if p.is_file())
