"""Parse columns of times with the patterns of `times`, so that columns and single values are read alike."""

import polars as pl

from merit.reading.times import CENTURY_PIVOT, ISO_FORMAT, MONTHS, TimeFormat, compile_format

DAY_US = 86_400_000_000
"""Microseconds in a day."""


def parse_times(text: pl.Series, format: str | None = None) -> pl.Series:
    """Return text as times, Datetime("us") [rows]: in UTC where a cell has an offset; null where it is no time."""
    if format is None and (values := _parse_plain(text)) is not None:
        return values
    text = text.str.strip_chars()
    if format is None:
        return _parse_format(text, ISO_FORMAT)
    declared = compile_format(format)
    fits = text.str.contains(declared.pattern).fill_null(False)
    if fits.all():
        return _parse_format(text, declared)
    return _parse_format(text, declared).zip_with(fits, _parse_format(text, ISO_FORMAT))


PLAIN_FORMATS = {
    10: (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "%Y-%m-%d"),
    19: (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9]$", "%Y-%m-%d{}%H:%M:%S"),
}
"""The common notations of ISO 8601, by their length; Polars parses them three times as fast."""


def _parse_plain(text: pl.Series) -> pl.Series | None:
    """Return dates, or times to the second, if all cells have the same common notation; None otherwise."""
    sizes = text.str.len_bytes()
    if (size := sizes.max()) not in PLAIN_FORMATS or sizes.min() != size:
        return None
    pattern, layout = PLAIN_FORMATS[size]  # type: ignore[index]  # sizes are integers
    date_separator = (text.drop_nulls().head(1).str.slice(10, 1)).item()
    if not text.str.contains(pattern.replace("[T ]", date_separator)).all():
        return None
    values = text.str.to_datetime(layout.format(date_separator), time_unit="us", strict=False)
    return None if values.null_count() > text.null_count() or values.dt.year().min() == 0 else values


def _parse_format(text: pl.Series, time_format: TimeFormat) -> pl.Series:
    parts = pl.select(pl.lit(text).str.extract_groups(time_format.pattern).alias("parts")).unnest("parts")
    number_by_field = {
        name: pl.col(name).cast(pl.Int64) for name in time_format.fields if name not in {"name", "noon", "offset"}
    }
    parsed = parts.select(
        _build_year(number_by_field).alias("year"),
        _build_month(number_by_field, time_format).alias("month"),
        number_by_field.get("day", pl.lit(1)).alias("day"),
        _build_hour(number_by_field, time_format).alias("hour"),
        number_by_field.get("minute", pl.lit(None)).fill_null(0).alias("minute"),
        number_by_field.get("second", pl.lit(None)).fill_null(0).alias("second"),
        _build_microseconds(time_format).alias("micros"),
        _build_offset(time_format).alias("offset"),
    )
    return parsed.select(_combine_parts()).to_series().alias(text.name)


def _build_year(number_by_field: dict[str, pl.Expr]) -> pl.Expr:
    if "year" in number_by_field:
        return number_by_field["year"]
    return number_by_field["short"] + pl.when(number_by_field["short"] >= CENTURY_PIVOT).then(1900).otherwise(2000)


def _build_month(number_by_field: dict[str, pl.Expr], time_format: TimeFormat) -> pl.Expr:
    if "name" in time_format.fields:
        month_prefix = pl.col("name").str.slice(0, 3).str.to_lowercase()
        return month_prefix.replace_strict(list(MONTHS), list(range(1, 13)), default=None, return_dtype=pl.Int64)
    return number_by_field.get("month", pl.lit(1))


def _build_hour(number_by_field: dict[str, pl.Expr], time_format: TimeFormat) -> pl.Expr:
    if "half" not in time_format.fields:
        return number_by_field.get("hour", pl.lit(None)).fill_null(0)
    is_late = pl.col("noon").str.slice(0, 1).str.to_lowercase() == "p"
    twelve = pl.when(number_by_field["half"].is_between(1, 12)).then(number_by_field["half"] % 12)  # otherwise null
    return twelve + 12 * is_late.cast(pl.Int64)


def _build_microseconds(time_format: TimeFormat) -> pl.Expr:
    if "fraction" not in time_format.fields:
        return pl.lit(0)
    return pl.col("fraction").str.slice(0, 6).str.pad_end(6, "0").cast(pl.Int64).fill_null(0)


def _build_offset(time_format: TimeFormat) -> pl.Expr:
    """Return the minutes by which a clock is ahead of UTC; null if invalid, 0 without an offset."""
    if "offset" not in time_format.fields:
        return pl.lit(0)
    offset_text = pl.col("offset")
    hours = offset_text.str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = offset_text.str.slice(3).str.strip_chars_start(":").replace("", "0").cast(pl.Int64, strict=False)
    offset_minutes = pl.when((hours <= 23) & (minutes <= 59)).then(60 * hours + minutes)
    signed = pl.when(offset_text.str.starts_with("-")).then(-offset_minutes).otherwise(offset_minutes)
    return pl.when(offset_text.is_null() | offset_text.is_in(["Z", "z"])).then(0).otherwise(signed)


def _combine_parts() -> pl.Expr:
    """Return the time from its parts; null where a part is out of range, such as February 30."""
    month, day = pl.col("month"), pl.col("day")
    is_month = month.is_between(1, 12) & (pl.col("year") >= 1)
    month_start = pl.when(is_month).then(pl.date(pl.col("year"), pl.when(is_month).then(month), 1))
    days = month_start.cast(pl.Int64) + day - 1
    is_day = (day >= 1) & (days.cast(pl.Int32).cast(pl.Date).dt.month() == month)
    is_time = (pl.col("hour") <= 23) & (pl.col("minute") <= 59) & (pl.col("second") <= 59)
    minutes = 60 * pl.col("hour") + pl.col("minute") - pl.col("offset")
    micros = days * DAY_US + (60 * minutes + pl.col("second")) * 1_000_000 + pl.col("micros")
    return pl.when(is_day & is_time).then(micros).cast(pl.Datetime("us"))
