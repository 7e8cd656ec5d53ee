"""The pages that show numbers compute them."""

import doctest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_worked_example_computes_what_it_says() -> None:
    result = doctest.testfile(str(ROOT / "docs" / "worked_example.md"), module_relative=False)
    assert result.attempted > 20
    assert result.failed == 0
