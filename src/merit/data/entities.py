"""Detects entity columns, which identify what rows belong to (a patient, a customer), by their name and values.

Rows of one entity must not be in both training and test part if the model is used on new entities.
"""

import re
from dataclasses import dataclass

import polars as pl

# fmt: off
ENTITY_WORDS = frozenset({
    "account", "animal", "applicant", "borrower", "case", "child", "client", "cliente", "consumer", "contract",
    "cow", "cust", "customer", "device", "donor", "driver", "employee", "engine", "fahrzeug", "fall", "family",
    "farm", "geraet", "gerät", "haushalt", "hh", "household", "individual", "konto", "kunde", "kunden", "loan",
    "machine", "maschine", "matrikel", "member", "mitarbeiter", "mitglied", "mouse", "nhs", "nutzer", "owner",
    "paciente", "participant", "passenger", "pat", "patient", "patienten", "person", "personal", "player",
    "policy", "proband", "probanden", "pupil", "rat", "respondent", "rider", "schueler", "schüler", "sensor",
    "serial", "serien", "session", "speaker", "specimen", "ssn", "student", "subj", "subject", "subscriber",
    "tenant", "unit", "user", "usuario", "usubj", "utilisateur", "vehicle", "versicherungs", "vertrag",
    "vertrags", "vin", "visitor", "wafer", "worker",
})
"""Words for entities: things with several rows each, where the model is used on new ones (English, German, Spanish,
French)."""
AMBIGUOUS_WORDS = frozenset({
    "account", "animal", "case", "child", "contract", "device", "engine", "fall", "family", "konto", "loan", "member",
    "nhs", "owner", "pat", "personal", "policy", "sensor", "serial", "serien", "session", "unit", "vehicle",
    "versicherungs", "vertrag", "vertrags",
})
# fmt: on
"""The entity words that, as a whole column name, may also mean a category, an amount or a yes/no flag."""
# fmt: off
RECURRING_WORDS = frozenset({
    "airport", "article", "base", "block", "branch", "brand", "campaign", "category", "channel", "city", "class",
    "cluster", "code", "color", "colour", "country", "county", "day", "department", "dept", "dest", "district",
    "film", "fips", "flight", "genre", "group", "hour", "item", "language", "level", "line", "location", "make",
    "model", "month", "movie", "naics", "nuts", "origin", "plan", "plz", "postal", "postcode", "product",
    "provider", "rate", "region", "route", "sector", "segment", "shop", "sic", "site", "sku", "song", "state",
    "station", "status", "stock", "store", "sub", "supplier", "symbol", "team", "ticker", "title", "track",
    "type", "vendor", "version", "warehouse", "week", "year", "zip", "zipcode", "zone",
})
"""Words for what recurs when the model is used, such as a product or an airport: it may be on both sides of a split."""
ID_WORDS = frozenset({
    "cid", "eid", "guid", "hash", "hhid", "id", "identifier", "ids", "key", "mrn", "pid", "pseudonym", "ptid", "rid",
    "sid", "uid", "uuid",
})
# fmt: on
NUMBER_WORDS = frozenset({"code", "kennung", "nbr", "no", "nr", "num", "number", "nummer", "ref"})
"""Words that turn an entity word into an id (`customer number`), and mean nothing on their own."""
CODE_WORDS = frozenset({"code", "fips", "icd", "naics", "plz", "postcode", "sic", "zip", "zipcode"})
"""Words for codes: their digits are not quantities."""
IDENTIFIER_PATTERN = (
    r"^(\{?[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?|[0-9a-fA-F]{16,128}|[^@\s]+@[^@\s]+\.[A-Za-z]{2,})$"
)
"""UUIDs, hexadecimal hashes and e-mail addresses: identifiers whatever the name of their column."""
SAMPLE_ROWS = 1000
MIN_VALUES_IF_NAMED, MIN_VALUES = 3, 20
"""The least number of distinct values of an entity column: if its name is an entity's id, and otherwise."""
MIN_REPEATED_SHARE = 0.2
"""The least share of rows whose value occurs in another row too; below it, a column identifies rows, not entities."""


@dataclass(frozen=True)
class Entity:
    """A column that identifies the entity of each row.

    Attributes:
        name: the name of the column.
        values: the number of distinct values.
        rows: the number of rows with a value.
        is_sure: whether name or values show that it identifies entities; otherwise it is just an id of something.
    """

    name: str
    values: int
    rows: int
    is_sure: bool


def detect_entity(column: pl.Series) -> Entity | None:
    """Return the entity that a column identifies; None if it identifies none, or one row each.

    Example:
        >>> detect_entity(pl.Series("patient_id", [1, 1, 2, 2, 3, 3]))
        Entity(name='patient_id', values=3, rows=6, is_sure=True)
    """
    if not (column.dtype == pl.String or column.dtype.is_integer() or column.dtype.is_float()):
        return None
    non_null = column.drop_nulls()
    is_named, is_id = is_entity_id(column.name), is_generic_id(column.name)
    is_sure = is_named or is_entity_word(column.name) or (non_null.dtype == pl.String and _has_identifiers(non_null))
    if not (is_sure or is_id) or (non_null.dtype.is_float() and not bool((non_null == non_null.round()).all())):
        return None
    values = non_null.n_unique()
    if values < (
        MIN_VALUES_IF_NAMED if is_named else MIN_VALUES
    ) or non_null.is_duplicated().sum() < MIN_REPEATED_SHARE * len(non_null):
        return None
    return Entity(column.name, values, len(non_null), is_sure)


def is_entity_id(name: str) -> bool:
    """Return whether a name is an entity's id: `patient_id`, `customerNo`, but not `patient_age`."""
    words = _split_words(name)
    return bool(ENTITY_WORDS & set(words)) and (words[-1] in ID_WORDS | NUMBER_WORDS or words[0] in ID_WORDS)


def is_entity_word(name: str) -> bool:
    """Return whether a name is an entity word: `patient`, `Kunde`; not `patients` (a count) or `device` (a kind)."""
    return name.strip().lower() in ENTITY_WORDS - AMBIGUOUS_WORDS


def is_generic_id(name: str) -> bool:
    """Return whether a name is an id that may be an entity's: `id`, `case_id`, but not `product_id`."""
    words = _split_words(name)
    return bool(words) and (words[-1] in ID_WORDS or words[0] in ID_WORDS) and not RECURRING_WORDS & set(words)


def is_recurring_id(name: str) -> bool:
    """Return whether a name is the id or code of something recurring: `product_id`, `store_nr`, `zip`."""
    words = _split_words(name)
    if not words:
        return False
    return words[-1] in CODE_WORDS or (words[-1] in ID_WORDS | NUMBER_WORDS and bool(RECURRING_WORDS & set(words)))


def mentions_recurring(name: str) -> bool:
    """Return whether a name contains a word for something recurring: `week`, `dest airport`."""
    return bool(RECURRING_WORDS & set(_split_words(name)))


def _split_words(name: str) -> list[str]:
    """Return the words of a name in lower case: `PatientID`, `patient id` and `patientid` give `patient` and `id`."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name.replace("'", ""))
    words = re.findall(r"[^\W\d_]+", spaced.lower())
    return [part for word in words for part in _split_compound(word)]


def _split_compound(word: str) -> list[str]:
    """Split a compound such as `patientid` into its two words, and a plural into its singular."""
    if word in ENTITY_WORDS | RECURRING_WORDS | ID_WORDS | NUMBER_WORDS:
        return [word]
    for end in sorted(ID_WORDS | NUMBER_WORDS, key=len, reverse=True):
        if word.endswith(end) and word.removesuffix(end) in ENTITY_WORDS | RECURRING_WORDS:
            return [word.removesuffix(end), end]
    singular = word.removesuffix("s")
    return [singular] if singular in ENTITY_WORDS | RECURRING_WORDS else [word]


def _has_identifiers(non_null: pl.Series) -> bool:
    sample = non_null.head(SAMPLE_ROWS)
    return len(sample) > 0 and bool(sample.str.contains(IDENTIFIER_PATTERN).all())
