"""Recognizes text columns that are not usable as categories, such as prose or URLs, and gives advice."""

import re

import polars as pl

SHARE = 0.9
"""Minimum share of a column's texts that match a kind."""
WORDS = 4
"""Minimum mean number of words of prose."""
MIXED = 0.3
"""Minimum share of numbers in a column that mixes numbers and other texts."""
LONG = 60
"""Mean number of characters above which text is prose."""
NOT_OPENED = "which are not opened: make an array column of their pixels (docs/own-table.md, Images)"
RANGE = r"^\D?(\d+(?:\.\d+)?)\s*(?:-|\x{2013}|\x{2014}|to|bis|\.\.+)\s*\D?(\d+(?:\.\d+)?)\D*$"
KINDS = {
    r"(?i)\.(png|jpe?g|gif|bmp|tiff?|webp)$": f"names of image files, {NOT_OPENED}",
    r"(?i)\.(wav|mp3|flac|mp4|avi|pdf|docx?|txt|json|xml|npy|dcm|nii|parquet|csv)$":
        "names of files, which are not opened: make columns of what matters in them",
    r"^(https?|ftp|s3)://": "addresses on the web, which are not opened: make columns of what matters in them",
    r"^\d{1,2}:\d\d(:\d\d([.,]\d+)?)?( ?[AaPp]\.?[Mm]\.?)?$":
        "times of day without a day, or durations: make a number of minutes of them",
    r"(?i)^(P(\d+[YMWD])*(T(\d+(\.\d+)?[HMS])+)?|\d+ days?,? .*\d+:\d\d.*|(\d+ ?(h|hours?|m|min|s|sec) ?)+)$":
        "durations: make a number of seconds or days of them",
    r"^(POINT ?)?\(?[+-]?\d{1,3}\.\d+°?( ?[NS])?[,; ]+[+-]?\d{1,3}\.\d+°?( ?[EW])?\)?$":
        "pairs of coordinates: make two columns of numbers",
    r"\d{1,2}:\d\d(:\d\d)? [A-Z]{2,5}$": "times with the name of a zone: write its offset, as 2024-12-31T23:59+01:00",
    r"^\D?\d[\d.,]* ?(±|\+/-) ?\d[\d.,]*\D*$": "numbers with what they may be off by: make two columns of them",
    r"^'[\d.,+-]+$": "numbers behind an apostrophe, as spreadsheets mark text: take it away",
    r"^\s*([\[{].*[\]}])\s*$": "lists or records as text: make a column of each part",
    r"^\d{1,2}[./ -]{1,2}\p{L}{3,}\.?[./ -]{1,2}\d{2,4}$":
        "dates, it seems, with months in another language than English: write them as 2024-12-31",
}  # fmt: skip
"""Patterns of text kinds, with a description and advice."""


def kind_of(texts: pl.Series) -> str | None:
    """Return the kind of texts that are no categories, with advice; None if they may be categories."""
    for pattern, reason in KINDS.items():
        if texts.str.contains(pattern).sum() >= SHARE * len(texts):
            return reason
    return _of_ranges(texts) or _of_numbers(texts) or _of_prose(texts)


def _of_ranges(texts: pl.Series) -> str | None:
    """Return the advice for ranges such as 10-20 (rising, so not codes such as 94103-1234); None otherwise."""
    ends = texts.str.extract_groups(RANGE).struct.unnest().cast(pl.Float64, strict=False)
    rising = (ends.to_series(0) <= ends.to_series(1)).sum()
    return "ranges, such as 10-20: make two numbers of them, or their middle" if rising >= SHARE * len(texts) else None


def _of_numbers(texts: pl.Series) -> str | None:
    """Return the advice for texts of which many are numbers; None otherwise."""
    is_number = texts.str.contains(r"^[+-]?\d+([.,]\d+)*$")
    is_behind = texts.str.contains(r"^\d+([.,]\d+)*-$")
    if is_behind.any() and (is_number | is_behind).all():
        return "numbers, some with the minus behind: write -12.50, not 12.50-"
    if not MIXED <= is_number.sum() / len(texts) < SHARE:
        return None
    others = ", ".join(repr(re.sub(r"\s", " ", text[:20])) for text in texts.filter(~is_number).head(2))
    return f"numbers ({is_number.sum() / len(texts):.0%}) and others, such as {others}: make a column of each"


def _of_prose(texts: pl.Series) -> str | None:
    length = float(texts.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]  # a number
    characters = float(texts.str.len_chars().mean() or 0)  # type: ignore[arg-type]  # a number
    is_varied = (
        texts.n_unique() > len(texts) / 2 and texts.str.contains(r"\p{L}{2,}\s.*\p{L}{2,}").sum() > len(texts) / 2
    )
    if is_varied and (length >= WORDS or characters > LONG):
        return f"prose, of {length:.0f} words on average: texts are no feature yet; make categories or numbers of them"
    return None


def spellings(values: pl.Series) -> list[str]:
    """Return a few texts that differ from another one only in surrounding blanks or in case."""
    known = values.drop_nulls().unique().sort()
    alike = pl.DataFrame({"word": known, "key": known.str.strip_chars().str.to_lowercase()})
    twice = alike.filter(pl.col("key").is_duplicated()).sort("key", "word")
    return [repr(re.sub(r"\s", " ", word)) for word in twice["word"].head(4)]
