"""Questions that SQL and the trail's own methods both answer, put to both in several zones."""

import polars as pl
from polars.testing import assert_frame_equal

import auditkit as ak
from auditkit import query

ZONES = ("UTC", "Europe/Stockholm", "Asia/Kolkata", "America/New_York")
"""Not one in which midnight comes twice, as in Havana, and in St John's until 2011: there `date_trunc` names the second."""
_SERIES = (
    "SELECT {bucket} AS ts, count(*) AS count, count(value) AS value_count, sum(value) AS sum, avg(value) AS mean, "
    "min(value) AS min, max(value) AS max FROM events GROUP BY 1 ORDER BY 1"
)
_BUCKETS = {
    "1mo": "date_trunc('month', ts)",
    "1w": "date_trunc('week', ts)",
    "1d": "date_trunc('day', ts)",
    "1h": "time_bucket(INTERVAL '1 hour', ts, '{tz}')",
    "5m": "time_bucket(INTERVAL '5 minutes', ts)",
}


def assert_sql_agrees(trail: ak.Trail, zones: tuple[str, ...] = ZONES) -> None:
    """Compare days, hours, bounds and what a clock shows, in each zone."""
    for tz in zones:
        with ak.open(trail.path, tz=tz) as view:
            _compare(view)


def _compare(view: ak.Trail) -> None:
    for every, bucket in _BUCKETS.items():
        found = view.sql(_SERIES.format(bucket=bucket.format(tz=view.tz)))
        assert_frame_equal(found, view.downsample(every), rel_tol=1e-9, abs_tol=1e-12)
    by_action = view.sql(
        "SELECT date_trunc('day', ts) AS ts, action, count(*) AS count FROM events GROUP BY ALL "
        "ORDER BY ts, action NULLS LAST"
    )
    assert_frame_equal(by_action, view.group_by("action", every="1d", aggs="count"))
    dates = view.sql("SELECT ts::date AS ts, count(*) AS count FROM events GROUP BY 1 ORDER BY 1")
    assert_frame_equal(dates, view.downsample("1d", aggs="count").with_columns(pl.col("ts").dt.date()))
    hours = view.sql(
        "SELECT extract(hour FROM ts)::TINYINT AS hour, count(*) AS count FROM events GROUP BY 1 ORDER BY 1"
    )
    shown = query.group_by(view.scan(), pl.col("ts").dt.hour().alias("hour"), aggs="count")
    assert_frame_equal(hours, shown)
    for day in dates["ts"].unique().sort().gather_every(max(1, dates.height // 3)).cast(pl.String):
        later = view.sql("SELECT count(*) AS n FROM events WHERE ts >= $day", params={"day": day}).item()
        assert later == view.group_by([], start=day, aggs="count").item(), (view.tz, day)
