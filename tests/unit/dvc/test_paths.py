import pytest

from merit.dvc import paths as names


@pytest.mark.parametrize(
    "path",
    ["model", "data/raw.parquet", "model/params.yaml", "reports/plots/roc.csv", "a b/c (1).jpg", "bilder/blüte.png",
     "画像/一.png", "x", "data/1,2+3=@%.csv", "a.b.c/d..e", "confused/x", "srcs/x", "a-b/_c"],
)  # fmt: skip
def test_plain_paths_are_allowed(path: str) -> None:
    assert names.find_fault(path) == ""


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "has 0 characters"),
        ("a" * 1001, "has 1,001 characters"),
        ("a/" + "b" * 256, "has a part of more than 255 bytes"),
        ("a/" + "ü" * 128, "has a part of more than 255 bytes"),
        ("/etc/passwd", "is absolute"),
        ("//host/x", "is absolute"),
        ("C:/x", "has a backslash or a colon"),
        ("C:x", "has a backslash or a colon"),
        ("model/x:stream", "has a backslash or a colon"),
        ("model\\..\\x", "has a backslash or a colon"),
        ("../x", "leads elsewhere"),
        ("model/../../x", "leads elsewhere"),
        ("model/..", "leads elsewhere"),
        ("model/./x", "leads elsewhere"),
        ("model//x", "leads elsewhere"),
        ("model/", "leads elsewhere"),
        (".git/hooks/x", "is hidden"),
        ("model/.GIT/x", "is hidden"),
        (".venv/x", "is hidden"),
        ("model/.gitattributes", "is hidden"),
        ("~/x", "is hidden"),
        ("GIT~1/x", "is hidden"),
        ("model/git~1/config", "is hidden"),
        ("model/x ", "begins or ends with a space"),
        ("model /x", "begins or ends with a space"),
        ("model./x", "ends with a dot"),
        ("x.", "ends with a dot"),
        (".. /x", "is hidden"),
        ("model/x\0y", "characters that can't be seen"),
        ("model/x\ny", "characters that can't be seen"),
        ("model/\x1b[31m", "characters that can't be seen"),
        ("model/.g\u200cit/x", "characters that can't be seen"),
        ("model/\u202egpj.exe", "characters that can't be seen"),
        ("model/\ud800", "characters that can't be seen"),
        ("conf/gate/x.json", "lies in conf/"),
        ("Conf/x", "lies in Conf/"),
        ("CONF", "lies in CONF/"),
        ("\uff43onf/x", "lies in \uff43onf/"),
        ("src/merit/x.csv", "lies in src/"),
        ("deploy/x.json", "lies in deploy/"),
        ("mypackage/x.py", "is code or settings"),
        ("model/x.PTH", "is code or settings"),
        ("model/x.so", "is code or settings"),
        ("model/x\uff0epy", "is code or settings"),
        ("Makefile", "is code or settings"),
        ("a/Dockerfile", "is code or settings"),
        ("model/dvc.yaml", "is code or settings"),
        ("model/x.dvc", "is code or settings"),
        ("pyproject.toml", "is code or settings"),
        ("params.yaml", "is code or settings"),
        ("requirements-serving.lock", "is code or settings"),
        ("Bentofile.YAML", "is code or settings"),
    ],
)
def test_what_leads_elsewhere_or_would_run_is_not(path: str, reason: str) -> None:
    assert reason in names.find_fault(path)


@pytest.mark.parametrize(
    "paths", [["a", "b", "a"], ["a/B", "A/b"], ["x", "x/y"], ["x/y/z", "X/Y"], ["ä", "a\u0308"], ["ß", "SS"]]
)
def test_paths_that_are_one_to_some_disk_clash(paths: list[str]) -> None:
    assert names.find_clash(paths)


def test_paths_that_are_not_do_not() -> None:
    assert names.find_clash(["a", "b/a", "b/c/a", "ab", "a.b/c"]) == ""


def test_a_path_that_nobody_has_checked_is_shown_harmless() -> None:
    assert names.escape_path("\x1b[2J\u202e") == "'\\x1b[2J\\u202e'"
    assert len(names.escape_path("x" * 10_000)) < 100
