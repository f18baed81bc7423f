"""Masks secrets in text for terminals, logs and reports."""

import re

_RULES = (
    (re.compile(r"(?<=://)[^/@\s'\"]+@"), "***@"),
    (re.compile(r"((?:password|passwd|secret|token|key|sig|signature)\w*=)[^&\s;'\"]+", re.I), r"\1***"),
)


def mask_secrets(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return a text with `***` in place of credentials in URLs, of secret parameters, and of each of `secrets`.

    >>> mask_secrets("postgresql://merit:pw@db/runs?token=abc")
    'postgresql://***@db/runs?token=***'
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text
