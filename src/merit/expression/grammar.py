"""The vocabulary of expressions: functions with their numbers of arguments, parts of a time, types, units."""

TIME_PARTS = ("YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DOW", "ISODOW", "DOY", "HOUR", "MINUTE", "SECOND", "EPOCH")
"""The parts that EXTRACT takes from a date or time; each is also a function."""

ARGUMENT_COUNTS: dict[str, tuple[int, int | None]] = {
    "ABS": (1, 1),
    "CEIL": (1, 1),
    "CEILING": (1, 1),
    "CHAR_LENGTH": (1, 1),
    "COALESCE": (1, None),
    "CONCAT": (1, None),
    "DATE_PART": (2, 2),
    "ENDS_WITH": (2, 2),
    "EXP": (1, 1),
    "FLOOR": (1, 1),
    "GREATEST": (1, None),
    "IFNULL": (2, 2),
    "LEAST": (1, None),
    "LEFT": (2, 2),
    "LENGTH": (1, 1),
    "LN": (1, 1),
    "LOG10": (1, 1),
    "LOG2": (1, 1),
    "LOWER": (1, 1),
    "LTRIM": (1, 2),
    "MOD": (2, 2),
    "NULLIF": (2, 2),
    "POW": (2, 2),
    "POWER": (2, 2),
    "REPLACE": (3, 3),
    "RIGHT": (2, 2),
    "ROUND": (1, 2),
    "RTRIM": (1, 2),
    "SIGN": (1, 1),
    "SQRT": (1, 1),
    "STARTS_WITH": (2, 2),
    "STRPOS": (2, 2),
    "SUBSTR": (2, 3),
    "SUBSTRING": (2, 3),
    "TRIM": (1, 2),
    "UPPER": (1, 1),
    **dict.fromkeys(TIME_PARTS, (1, 1)),
}
"""The allowed functions, with their minimum and maximum number of arguments; None is any number."""

LITERAL_ARGUMENTS = {
    "DATE_PART": (0,),
    "LTRIM": (1,),
    "REPLACE": (1, 2),
    "ROUND": (1,),
    "RTRIM": (1,),
    "TRIM": (1,),
}
"""The indices of arguments that must be literals."""

CAST_TYPES = {
    "BIGINT": "integer",
    "BOOL": "boolean",
    "BOOLEAN": "boolean",
    "CHAR": "text",
    "DATE": "date",
    "DATETIME": "timestamp",
    "DECIMAL": "decimal",
    "DOUBLE": "number",
    "DOUBLE PRECISION": "number",
    "FLOAT": "number",
    "INT": "integer",
    "INTEGER": "integer",
    "NUMERIC": "decimal",
    "REAL": "number",
    "SMALLINT": "integer",
    "STRING": "text",
    "TEXT": "text",
    "TIMESTAMP": "timestamp",
    "VARCHAR": "text",
}
"""The types that CAST takes, with merit's name for each; integers and numbers have 64 bits."""

DECIMAL_TYPES = ("DECIMAL", "NUMERIC")
CHARACTER_TYPES = ("CHAR", "VARCHAR")
"""Types that may have a size; the size of text is accepted, but truncates nothing."""
MAX_DIGITS = 38
"""The maximum number of digits of a decimal."""

SECONDS_BY_UNIT = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
"""The units of an INTERVAL, in seconds."""
