"""Parse columns of times with the patterns of `times`, so that columns and single values are read alike."""

import polars as pl

from merit.reading.times import CENTURY, ISO_8601, MONTHS, Format, compiled

DAY = 86_400_000_000
"""Microseconds in a day."""


def clocks(text: pl.Series, format: str | None = None) -> pl.Series:
    """Return text as times, Datetime("us") [rows]: in UTC where a cell has an offset; null where it is no time."""
    if format is None and (values := _plain(text)) is not None:
        return values
    text = text.str.strip_chars()
    if format is None:
        return _read(text, ISO_8601)
    declared = compiled(format)
    fits = text.str.contains(declared.pattern).fill_null(False)
    if fits.all():
        return _read(text, declared)
    return _read(text, declared).zip_with(fits, _read(text, ISO_8601))


PLAIN = {
    10: (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "%Y-%m-%d"),
    19: (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9]$", "%Y-%m-%d{}%H:%M:%S"),
}
"""The common notations of ISO 8601, by their length; Polars parses them three times as fast."""


def _plain(text: pl.Series) -> pl.Series | None:
    """Return dates, or times to the second, if all cells have the same common notation; None otherwise."""
    sizes = text.str.len_bytes()
    if (size := sizes.max()) not in PLAIN or sizes.min() != size:
        return None
    pattern, layout = PLAIN[size]  # type: ignore[index]  # sizes are integers
    between = (text.drop_nulls().head(1).str.slice(10, 1)).item()
    if not text.str.contains(pattern.replace("[T ]", between)).all():
        return None
    values = text.str.to_datetime(layout.format(between), time_unit="us", strict=False)
    return None if values.null_count() > text.null_count() or values.dt.year().min() == 0 else values


def _read(text: pl.Series, of: Format) -> pl.Series:
    parts = pl.select(pl.lit(text).str.extract_groups(of.pattern).alias("parts")).unnest("parts")
    number = {name: pl.col(name).cast(pl.Int64) for name in of.fields if name not in {"name", "noon", "offset"}}
    read = parts.select(
        _year(number).alias("year"),
        _month(number, of).alias("month"),
        number.get("day", pl.lit(1)).alias("day"),
        _hour(number, of).alias("hour"),
        number.get("minute", pl.lit(None)).fill_null(0).alias("minute"),
        number.get("second", pl.lit(None)).fill_null(0).alias("second"),
        _micros(of).alias("micros"),
        _offset(of).alias("offset"),
    )
    return read.select(_joined()).to_series().alias(text.name)


def _year(number: dict[str, pl.Expr]) -> pl.Expr:
    if "year" in number:
        return number["year"]
    return number["short"] + pl.when(number["short"] >= CENTURY).then(1900).otherwise(2000)


def _month(number: dict[str, pl.Expr], of: Format) -> pl.Expr:
    if "name" in of.fields:
        first = pl.col("name").str.slice(0, 3).str.to_lowercase()
        return first.replace_strict(list(MONTHS), list(range(1, 13)), default=None, return_dtype=pl.Int64)
    return number.get("month", pl.lit(1))


def _hour(number: dict[str, pl.Expr], of: Format) -> pl.Expr:
    if "half" not in of.fields:
        return number.get("hour", pl.lit(None)).fill_null(0)
    is_late = pl.col("noon").str.slice(0, 1).str.to_lowercase() == "p"
    twelve = pl.when(number["half"].is_between(1, 12)).then(number["half"] % 12)  # otherwise null
    return twelve + 12 * is_late.cast(pl.Int64)


def _micros(of: Format) -> pl.Expr:
    if "fraction" not in of.fields:
        return pl.lit(0)
    return pl.col("fraction").str.slice(0, 6).str.pad_end(6, "0").cast(pl.Int64).fill_null(0)


def _offset(of: Format) -> pl.Expr:
    """Return the minutes by which a clock is ahead of UTC; null if invalid, 0 without an offset."""
    if "offset" not in of.fields:
        return pl.lit(0)
    said = pl.col("offset")
    hours = said.str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = said.str.slice(3).str.strip_chars_start(":").replace("", "0").cast(pl.Int64, strict=False)
    away = pl.when((hours <= 23) & (minutes <= 59)).then(60 * hours + minutes)
    signed = pl.when(said.str.starts_with("-")).then(-away).otherwise(away)
    return pl.when(said.is_null() | said.is_in(["Z", "z"])).then(0).otherwise(signed)


def _joined() -> pl.Expr:
    """Return the time from its parts; null where a part is out of range, such as February 30."""
    month, day = pl.col("month"), pl.col("day")
    is_month = month.is_between(1, 12) & (pl.col("year") >= 1)
    first = pl.when(is_month).then(pl.date(pl.col("year"), pl.when(is_month).then(month), 1))
    days = first.cast(pl.Int64) + day - 1
    is_day = (day >= 1) & (days.cast(pl.Int32).cast(pl.Date).dt.month() == month)
    is_time = (pl.col("hour") <= 23) & (pl.col("minute") <= 59) & (pl.col("second") <= 59)
    minutes = 60 * pl.col("hour") + pl.col("minute") - pl.col("offset")
    micros = days * DAY + (60 * minutes + pl.col("second")) * 1_000_000 + pl.col("micros")
    return pl.when(is_day & is_time).then(micros).cast(pl.Datetime("us"))
