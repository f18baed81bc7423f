import hashlib
import json
from typing import Any

import pytest

from merit.dvc import listing
from merit.dvc.limits import Limits
from merit.errors import MeritError
from tests.support.planted_outputs import PATHS

MD5 = "0" * 32


def _parse(value: Any, limits: Limits = Limits()) -> dict[str, str]:  # noqa: B008  # it is frozen
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return listing.parse_listing(text, hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir", "model", limits)


def test_a_listing_names_the_hash_of_each_file() -> None:
    entries = [{"md5": MD5, "relpath": "a/b.csv"}, {"md5": "f" * 32, "relpath": "manifest.json"}]
    assert _parse(entries) == {"a/b.csv": MD5, "manifest.json": "f" * 32}
    assert _parse([]) == {}


@pytest.mark.parametrize("path", [*PATHS, "", ".", "a/./b", "a\nb", "../conf/x.yaml", 3, None, ["a"], "\ud800"])
def test_a_path_that_leads_elsewhere_is_refused(path: Any) -> None:
    with pytest.raises(MeritError, match=r"^model \(\w+\.dir\): its listing .*; nothing was written$"):
        _parse([{"md5": MD5, "relpath": "ok"}, {"md5": MD5, "relpath": path}])


@pytest.mark.parametrize(
    "entry",
    [
        {"md5": MD5},
        {"relpath": "x"},
        {"md5": f"{MD5}.dir", "relpath": "x"},
        {"md5": "../../../../etc/passwd", "relpath": "x"},
        {"md5": MD5.upper().replace("0", "A"), "relpath": "x"},
        {"md5": None, "relpath": "x"},
        {"md5": MD5, "relpath": "x", "isexec": True},
        {"md5": MD5, "relpath": "x", "remote": "other"},
        {"etag": MD5, "relpath": "x"},
        {"md5-dos2unix": MD5, "relpath": "x"},
        ["x"],
        "x",
        None,
    ],
)
def test_an_entry_that_says_anything_but_a_path_and_a_hash_is_refused(entry: Any) -> None:
    with pytest.raises(MeritError, match="an entry that is not a file's path and hash"):
        _parse([entry])


@pytest.mark.parametrize("paths", [["a", "a"], ["a", "A"], ["a", "a/b"], ["x/a/b", "x/A"]])
def test_a_file_that_is_there_twice_or_is_a_folder_too_is_refused(paths: list[str]) -> None:
    with pytest.raises(MeritError, match="twice, or as a folder too"):
        _parse([{"md5": MD5, "relpath": path} for path in paths])


@pytest.mark.parametrize("text", [b"", b"{}", b"[", b"\xff", b"1", b"[" * 100_000, b'{"a": [' * 50_000, b"null"])
def test_what_is_no_listing_is_refused(text: bytes) -> None:
    with pytest.raises(MeritError, match=r"its listing is no (JSON|list)|longer than"):
        _parse(text)


def test_a_listing_that_was_changed_is_refused() -> None:
    with pytest.raises(MeritError, match="its listing is not what its hash says"):
        listing.parse_listing(b"[]", f"{MD5}.dir", "model", Limits())


def test_more_files_or_a_longer_listing_than_is_allowed_are_refused() -> None:
    entries = [{"md5": MD5, "relpath": f"{number}"} for number in range(11)]
    assert len(_parse(entries, Limits(files=11))) == 11
    with pytest.raises(MeritError, match=r"names more than 10 files; tool\.merit\.outputs\.files in pyproject\.toml"):
        _parse(entries, Limits(files=10))
    with pytest.raises(MeritError, match=r"its listing is longer than 100,000 bytes"):
        _parse(b" " * 100_001, Limits(files=10))


def test_a_million_files_are_too_many_and_refused_before_each_is_looked_at() -> None:
    with pytest.raises(MeritError, match=r"longer than 40,000,000 bytes"):
        _parse(b'{"md5":"%s","relpath":"x"},' % MD5.encode() * 10**6)
    with pytest.raises(MeritError, match=r"names more than 100,000 files"):
        _parse(b"[" + b"{}," * 10**5 + b"{}]")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_listing_that_dvc_could_not_read_is_refused(encoding: str) -> None:
    with pytest.raises(MeritError, match="its listing is no JSON; nothing was written"):
        _parse("[]".encode(encoding))
