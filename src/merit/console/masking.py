"""Secrets kept out of what a person, a log or a report reads."""

import re

_RULES = (
    (re.compile(r"(?<=://)[^/@\s'\"]+@"), "***@"),
    (re.compile(r"((?:password|passwd|secret|token|key|sig|signature)\w*=)[^&\s;'\"]+", re.I), r"\1***"),
)


def masked(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return a text with `***` for what URLs carry of users and passwords, and for each of `secrets`."""
    for rule, instead in _RULES:
        text = rule.sub(instead, text)
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text
