"""Columns that name what rows belong to, such as a patient or a customer: known by their name and their values."""

import re
from dataclasses import dataclass

import polars as pl

# fmt: off
ENTITIES = frozenset({
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
"""Words for what is measured again and again, and is another one when the model is used."""
KINDS = frozenset({
    "account", "animal", "case", "child", "contract", "device", "engine", "fall", "family", "konto", "loan", "member",
    "nhs", "owner", "pat", "personal", "policy", "sensor", "serial", "serien", "session", "unit", "vehicle",
    "versicherungs", "vertrag", "vertrags",
})
# fmt: on
"""Those of them that alone may be the kind of a thing, an amount, or yes and no."""
# fmt: off
RECURRING = frozenset({
    "airport", "article", "base", "block", "branch", "brand", "campaign", "category", "channel", "city", "class",
    "cluster", "code", "color", "colour", "country", "county", "day", "department", "dept", "dest", "district",
    "film", "fips", "flight", "genre", "group", "hour", "item", "language", "level", "line", "location", "make",
    "model", "month", "movie", "naics", "nuts", "origin", "plan", "plz", "postal", "postcode", "product",
    "provider", "rate", "region", "route", "sector", "segment", "shop", "sic", "site", "sku", "song", "state",
    "station", "status", "stock", "store", "sub", "supplier", "symbol", "team", "ticker", "title", "track",
    "type", "vendor", "version", "warehouse", "week", "year", "zip", "zipcode", "zone",
})
"""Words for what recurs when the model is used: its rows may be on both sides of a split."""
IDS = frozenset({
    "cid", "eid", "guid", "hash", "hhid", "id", "identifier", "ids", "key", "mrn", "pid", "pseudonym", "ptid", "rid",
    "sid", "uid", "uuid",
})
# fmt: on
NUMBERS = frozenset({"code", "kennung", "nbr", "no", "nr", "num", "number", "nummer", "ref"})
"""Words that make an id of a word for an entity, and say nothing alone."""
CODES = frozenset({"code", "fips", "icd", "naics", "plz", "postcode", "sic", "zip", "zipcode"})
"""Words for codes, whose digits are no amounts."""
HASHED = (
    r"^(\{?[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\}?|[0-9a-fA-F]{16,128}|[^@\s]+@[^@\s]+\.[A-Za-z]{2,})$"
)
"""UUIDs, hashes in hex and addresses of e-mail: they name something, whatever their column is called."""
SAMPLE = 1000
FEW_VALUES, MANY_VALUES = 3, 20
"""Different values from which a column may name an entity: if it is called the id of one, and else."""
REPEATED = 0.2
"""The share of rows that share their value with another row, from which a column doesn't merely name rows."""


@dataclass(frozen=True)
class Entity:
    """A column that names what rows belong to.

    Attributes:
        name: of the column.
        values: how many different ones.
        rows: how many have one.
        is_sure: whether its name or its values say what it is, and not just that it is an id.
    """

    name: str
    values: int
    rows: int
    is_sure: bool


def entity_of(column: pl.Series) -> Entity | None:
    """Return what a column names if it is an entity that has several rows; None if it is not."""
    if not (column.dtype == pl.String or column.dtype.is_integer() or column.dtype.is_float()):
        return None
    known = column.drop_nulls()
    is_named, is_id = called_entity(column.name), called_id(column.name)
    is_sure = is_named or is_entity_word(column.name) or (known.dtype == pl.String and _is_hashed(known))
    if not (is_sure or is_id) or (known.dtype.is_float() and not bool((known == known.round()).all())):
        return None
    values = known.n_unique()
    if values < (FEW_VALUES if is_named else MANY_VALUES) or known.is_duplicated().sum() < REPEATED * len(known):
        return None
    return Entity(column.name, values, len(known), is_sure)


def called_entity(name: str) -> bool:
    """Say whether a name is that of an entity's id: `patient_id`, `customerNo`, but not `patient_age`."""
    words = _words(name)
    return bool(ENTITIES & set(words)) and (words[-1] in IDS | NUMBERS or words[0] in IDS)


def is_entity_word(name: str) -> bool:
    """Say whether a name is the word for an entity: `patient`, `Kunde`; `patients` is a count, `device` a kind."""
    return name.strip().lower() in ENTITIES - KINDS


def called_id(name: str) -> bool:
    """Say whether a name is that of an id of what may be an entity: `id`, `case_id`, but not `product_id`."""
    words = _words(name)
    return bool(words) and (words[-1] in IDS or words[0] in IDS) and not RECURRING & set(words)


def called_recurring(name: str) -> bool:
    """Say whether a name is that of the id or code of what recurs: `product_id`, `store_nr`, `zip`."""
    words = _words(name)
    if not words:
        return False
    return words[-1] in CODES or (words[-1] in IDS | NUMBERS and bool(RECURRING & set(words)))


def mentions_recurring(name: str) -> bool:
    """Say whether a name has a word for what recurs: `week`, `dest airport`."""
    return bool(RECURRING & set(_words(name)))


def _words(name: str) -> list[str]:
    """Return the words of a name in small letters: `PatientID`, `patient id` and `patientid` are `patient` and `id`."""
    cut = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name.replace("'", ""))
    words = re.findall(r"[^\W\d_]+", cut.lower())
    return [part for word in words for part in _parted(word)]


def _parted(word: str) -> list[str]:
    """Cut a word such as `patientid` into the two that it is made of."""
    if word in ENTITIES | RECURRING | IDS | NUMBERS:
        return [word]
    for end in sorted(IDS | NUMBERS, key=len, reverse=True):
        if word.endswith(end) and word.removesuffix(end) in ENTITIES | RECURRING:
            return [word.removesuffix(end), end]
    singular = word.removesuffix("s")
    return [singular] if singular in ENTITIES | RECURRING else [word]


def _is_hashed(known: pl.Series) -> bool:
    some = known.head(SAMPLE)
    return len(some) > 0 and bool(some.str.contains(HASHED).all())
