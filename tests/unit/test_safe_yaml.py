import pytest
import yaml

from merit import safe_yaml
from tests.conftest import ROOT

LAUGHS = "\n".join(["a0: &a0 [x, x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))])
MERGES = "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 25))])


@pytest.mark.parametrize("load", [safe_yaml.load, safe_yaml.compose])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: " + "[" * 100_000 + "]" * 100_000, "line 1: more than 64 levels"),
        ("- " * 100_000, "line 1: more than 64 levels"),
        ("? " * 100_000, "line 1: more than 64 levels"),
        ("a: 1\nb: &b [*b]", r"line 2: the alias \*b refers to itself"),
        ("a: &a {b: {<<: *a}}", r"the alias \*a refers to itself"),
        (LAUGHS, "line 7: more than 500,000 values with aliases written out"),
        (MERGES, "more than 500,000 values with aliases written out"),
        ("x" * 8_000_001, "8,000,001 characters; at most 8,000,000 are read"),
        ("a: [", "did not find expected node content"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: *b", "undefined alias"),
        ("a: \0", "control characters are not allowed|special characters are not allowed"),
    ],
)
def test_what_has_no_bounds_or_is_no_yaml_is_an_error_of_yaml(load: object, text: str, words: str) -> None:
    with pytest.raises(yaml.YAMLError, match=words):
        load(text)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1" + ":1" * 2_000, "1:1:1:1:1:1:1:1:1:1:, which YAML reads as a number in base 60"),
        ("1" + ":1" * 2_000 + ".5", "base 60"),
        ("0o17", ""),
        ("017", "017, which YAML reads as a number in base 8"),
        ("1" * 5_000, "a number of 5000 characters"),
        ("0x" + "f" * 5_000, "a number of 5002 characters"),
        ("2024-13-01", "month must be in 1..12"),
        ("2024-01-01T00:00:00+99:99", "an invalid value"),
        ("!!int x", "an invalid value"),
        ("!!timestamp x", "its tag does not fit"),
        ("!!bool x", "its tag does not fit"),
        ("!!python/name:os.system", "could not determine a constructor"),
        ("{[a]: b}", "unhashable"),
    ],
)
def test_a_value_that_can_not_be_is_an_error_of_yaml(value: str, words: str) -> None:
    if not words:
        assert safe_yaml.load(f"a: {value}") == {"a": value}
        return
    with pytest.raises(yaml.YAMLError) as caught:
        safe_yaml.load(f"a: {value}")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---\n",
        "a: [1, -2, 0, 0x1F, 0b11, 1_000, 1.5, 1.0e+3, 1e5, .inf, yes, null, ~, 2024-01-01, '1:30', 08, 1.2.3]",
        "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\nf: [*x, *x]",
        "1: a\nyes: b\nnull: c\na: 1\na: 2",
        (ROOT / "params.yaml").read_text(encoding="utf-8"),
        (ROOT / "dvc.yaml").read_text(encoding="utf-8"),
    ],
)
def test_the_rest_is_read_as_pyyaml_reads_it(text: str) -> None:
    assert safe_yaml.load(text) == yaml.safe_load(text)
