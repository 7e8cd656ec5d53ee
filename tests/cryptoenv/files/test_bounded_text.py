"""YAML and JSON of somebody else: what they say, or one clear error; never all memory, never a raw error."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cryptoenv.features import FeatureSpec
from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.bounded_yaml import MOST_BYTES, MOST_LEVELS, YamlError, parse_yaml, read_yaml


def bomb(levels: int, line: Callable[[int, str], str]) -> str:
    """Each level names the one before it nine times."""
    lines = ["x0: &x0 [0, 0, 0, 0, 0, 0, 0, 0, 0]" if "[" in line(1, "") else "x0: &x0 {k0: 0}"]
    lines += [line(n, ", ".join([f"*x{n - 1}"] * 9)) for n in range(1, levels)]
    return "\n".join(lines)


BOMBS = {
    "lists": bomb(12, lambda n, again: f"x{n}: &x{n} [{again}]"),
    "mappings": bomb(12, lambda n, again: f"x{n}: &x{n} {{{', '.join(f'k{i}: *x{n - 1}' for i in range(9))}}}"),
    "merges": bomb(12, lambda n, again: f"x{n}: &x{n} {{<<: [{again}]}}"),
    "ordered": bomb(12, lambda n, again: f"x{n}: &x{n} !!omap [{', '.join(f'k{i}: *x{n - 1}' for i in range(9))}]"),
    "itself": "a: &a [*a]",
    "itself by a key": "a: &a {b: {c: *a}}",
    "itself by a merge": "a: &a {<<: *a}",
    "deep list": "[" * 20_000,
    "deep list that ends": "[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1),
    "deep mapping": "{a: " * 20_000,
    "deep keys": "? " * 5_000,
    "deep dashes": "- " * 5_000 + "1",
    "deep lines": "\n".join(" " * n + "a:" for n in range(400)),
    "long": "a: 1\n" + "#" * MOST_BYTES,
    "long word": "a: " + "b" * 5_000,
    "many values": "[" + "1," * 25_000 + "1]",
    "huge number": "a: " + "9" * 4_096,
    "huge sum of sixties": "a: 1" + ":1" * 60_000,
    "no month": "a: 2024-13-01",
    "no month with a time": "a: 2024-13-01 25:61:00",
    "doubled": "a: 1\nb: 2\na: 3",
    "doubled deep": "x:\n  - {a: 1, 'a': 2}",
    "doubled number": "1: 1\n0x1: 2",
    "doubled merge": "a: &a {b: 1}\nc: {<<: *a, <<: *a}",
    "key that is a list": "? [1, 2]\n: 3",
    "python": "!!python/object/apply:os.system [true]",
    "own type": "a: !mine 3",
    "two documents": "a: 1\n---\nb: 2",
    "no alias": "a: *nowhere",
    "open": "a: [",
    "tab": "a:\n\t- 1",
    "control": "a: \x00",
    "large number": "a: " + "9" * 400,
    "infinite": "a: .inf",
    "minus infinite": "a: [-.INF]",
    "too large for a float": "a: 1.0e+999",
    "not a number": "a: {b: .nan}",
    "set of lists": "!!set {[1]}",
    "no whole number": "a: !!int 'x'",
    "no number": "a: !!float 'x'",
    "merge of a word": "a: {<<: b}",
}


@pytest.fixture
def little_memory() -> Any:
    """A bomb that goes off fails the test instead of the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.usefixtures("little_memory")
def test_yaml_beyond_its_bounds_is_one_error(kind: str, tmp_path: Path) -> None:
    with pytest.raises(YamlError, match="recipe"):
        parse_yaml(BOMBS[kind], "recipe")
    path = tmp_path / "recipe.yaml"
    path.write_text(BOMBS[kind], "utf-8")
    with pytest.raises(YamlError, match=r"recipe\.yaml"):
        read_yaml(path)
    with pytest.raises(ValueError, match="feature spec"):
        FeatureSpec.from_yaml(BOMBS[kind])


def test_plain_yaml_says_what_it_says() -> None:
    """Anchors, merges and overrides are not refused: only what they could stand for is counted."""
    text = """
    base: &base {rate: 3.0e-4, sizes: [64, 64], name: "a: b", none: null, on: true}
    other: {<<: *base, rate: 1.0e-3}
    both: {<<: [*base, {extra: 1}]}
    sizes: &sizes [1, 2]
    again: [*sizes, *sizes]
    1_000: !!binary aGVsbG8=
    """
    assert parse_yaml(text, "it") == yaml.safe_load(text)
    assert parse_yaml(text, "it")["other"] == {
        "rate": 1.0e-3, "sizes": [64, 64], "name": "a: b", "none": None, True: True,
    }  # fmt: skip
    assert parse_yaml("", "it") is None and parse_yaml("# nothing", "it") is None
    spec = FeatureSpec()
    assert FeatureSpec.from_yaml(spec.to_yaml()) == spec


def test_yaml_is_read_from_files_that_end(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_bytes("\ufeffa: é".encode())
    (tmp_path / "link.yaml").symlink_to("good.yaml")  # a user's own recipe may be a link
    assert read_yaml(tmp_path / "good.yaml") == read_yaml(tmp_path / "link.yaml") == {"a": "é"}
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))
    with pytest.raises(YamlError, match=r"latin\.yaml: no YAML: byte 3 is no UTF-8"):
        read_yaml(tmp_path / "latin.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    os.truncate(tmp_path / "good.yaml", 10**12)  # a file of a terabyte that takes no disk
    for name in ("pipe", "good"):
        with pytest.raises(YamlError, match=name):
            read_yaml(tmp_path / f"{name}.yaml")
    for path in ("/dev/zero", tmp_path):
        with pytest.raises((YamlError, OSError)):
            read_yaml(Path(path))


JSON_BOMBS = {
    "deep list": b"[" * 100_000,
    "deep list that ends": b"[" * 40 + b"]" * 40,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "NaN": b'{"a": NaN}',
    "infinite": b'{"a": [Infinity]}',
    "minus infinite": b"-Infinity",
    "overflow": b'{"a": 1e999}',
    "huge number": b'{"a": ' + b"9" * 5_000 + b"}",
    "large number": b'{"a": ' + b"9" * 400 + b"}",
    "doubled": b'{"a": 1, "a": 2}',
    "doubled deep": b'[{"b": {"a": 1, "a": 1}}]',
    "long": b'"' + b"a" * 5_000_000 + b'"',
    "latin": '"é"'.encode("latin-1"),
    "utf-16": '"a"'.encode("utf-16"),
    "two": b"{} {}",
    "empty": b"",
    "open": b'{"a": [1,',
}


@pytest.mark.parametrize("kind", JSON_BOMBS)
@pytest.mark.usefixtures("little_memory")
def test_json_beyond_its_bounds_is_one_error(kind: str) -> None:
    with pytest.raises(JsonError, match=r"config\.json"):
        parse_json(JSON_BOMBS[kind], "config.json")


def test_plain_json_says_what_it_says() -> None:
    value = {"a": [1, -2.5e-300, 2**128, None, True, "é\u2028"], "b": {"c": {}}}
    assert parse_json(json.dumps(value).encode(), "it") == value
    with pytest.raises(JsonError, match="at most 3"):
        parse_json(b"[1] ", "it", most_bytes=3)
