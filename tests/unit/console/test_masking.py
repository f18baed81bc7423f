import pytest

from merit.console.masking import mask_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pw@example.org/x", "http://***@example.org/x"),
        ("postgresql+psycopg://me:p%40w@127.0.0.1/x can't", "postgresql+psycopg://***@127.0.0.1/x can't"),
        ("https://example.org/?api_key=abc&x=1", "https://example.org/?api_key=***&x=1"),
        ("https://example.org/?sig=abc", "https://example.org/?sig=***"),
        ("a plain line; user@example.org", "a plain line; user@example.org"),
        ("git@github.example:o/r.git", "git@github.example:o/r.git"),
        ("found hunter22 here", "found *** here"),
    ],
)
def test_what_is_secret_is_not_shown(text: str, shown: str) -> None:
    assert mask_secrets(text, ("hunter22", "")) == shown
