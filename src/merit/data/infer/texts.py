"""Recognizes text columns that are not usable as categories, such as prose or URLs, and gives advice."""

import re

import polars as pl

MIN_SHARE = 0.9
"""Minimum share of a column's texts that match a kind."""
MIN_PROSE_WORDS = 4
"""Minimum mean number of words of prose."""
MIN_MIXED_SHARE = 0.3
"""Minimum share of numbers in a column that mixes numbers and other texts."""
MIN_PROSE_CHARACTERS = 60
"""Mean number of characters above which text is prose."""
IMAGES_ADVICE = "which are not opened: make an array column of their pixels (docs/how-to/infer.md, Images)"
RANGE_PATTERN = r"^\D?(\d+(?:\.\d+)?)\s*(?:-|\x{2013}|\x{2014}|to|bis|\.\.+)\s*\D?(\d+(?:\.\d+)?)\D*$"
KIND_ADVICE = {
    r"(?i)\.(png|jpe?g|gif|bmp|tiff?|webp)$": f"names of image files, {IMAGES_ADVICE}",
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


def find_kind(texts: pl.Series) -> str | None:
    """Return the kind of texts that are no categories, with advice; None if they may be categories."""
    for pattern, reason in KIND_ADVICE.items():
        if texts.str.contains(pattern).sum() >= MIN_SHARE * len(texts):
            return reason
    return _find_ranges(texts) or _find_mixed_numbers(texts) or _find_prose(texts)


def _find_ranges(texts: pl.Series) -> str | None:
    """Return the advice for ranges such as 10-20 (rising, so not codes such as 94103-1234); None otherwise."""
    bounds = texts.str.extract_groups(RANGE_PATTERN).struct.unnest().cast(pl.Float64, strict=False)
    rising = (bounds.to_series(0) <= bounds.to_series(1)).sum()
    return (
        "ranges, such as 10-20: make two numbers of them, or their middle" if rising >= MIN_SHARE * len(texts) else None
    )


def _find_mixed_numbers(texts: pl.Series) -> str | None:
    """Return the advice for texts of which many are numbers; None otherwise."""
    is_number = texts.str.contains(r"^[+-]?\d+([.,]\d+)*$")
    has_trailing_minus = texts.str.contains(r"^\d+([.,]\d+)*-$")
    if has_trailing_minus.any() and (is_number | has_trailing_minus).all():
        return "numbers, some with the minus behind: write -12.50, not 12.50-"
    if not MIN_MIXED_SHARE <= is_number.sum() / len(texts) < MIN_SHARE:
        return None
    others = ", ".join(repr(re.sub(r"\s", " ", text[:20])) for text in texts.filter(~is_number).head(2))
    return f"numbers ({is_number.sum() / len(texts):.0%}) and others, such as {others}: make a column of each"


def _find_prose(texts: pl.Series) -> str | None:
    mean_words = float(texts.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]  # a number
    mean_characters = float(texts.str.len_chars().mean() or 0)  # type: ignore[arg-type]  # a number
    is_varied = (
        texts.n_unique() > len(texts) / 2 and texts.str.contains(r"\p{L}{2,}\s.*\p{L}{2,}").sum() > len(texts) / 2
    )
    if is_varied and (mean_words >= MIN_PROSE_WORDS or mean_characters > MIN_PROSE_CHARACTERS):
        return (
            f"prose, of {mean_words:.0f} words on average: texts are no feature yet; make categories or numbers of them"
        )
    return None


def find_spelling_variants(values: pl.Series) -> list[str]:
    """Return a few texts that differ from another one only in surrounding blanks or in case."""
    distinct = values.drop_nulls().unique().sort()
    normalized = pl.DataFrame({"word": distinct, "key": distinct.str.strip_chars().str.to_lowercase()})
    variants = normalized.filter(pl.col("key").is_duplicated()).sort("key", "word")
    return [repr(re.sub(r"\s", " ", word)) for word in variants["word"].head(4)]
