"""The table of faults names tests that exist, for every row."""

import ast
import re
from pathlib import Path

import pytest
from benchmarks.fault_kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "faults.md"
NAMED = re.compile(r"`((?:tests|benchmarks)/[\w/]+\.py)(?:::(\w+))?`")
ROWS = 35
TEXT = PAGE.read_text()


def names_in(path):
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def rows():
    return {int(m[1]): m[0] for m in re.finditer(r"^\| (\d+) \|.*$", TEXT, re.M)}


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED.findall(TEXT))))
def test_what_is_named_exists(file, test):
    path = ROOT / file
    assert path.is_file()
    assert not test or (test in names_in(path) and test.startswith("test_"))


def test_every_row_names_its_test_or_says_that_there_is_none():
    assert sorted(rows()) == list(range(1, ROWS + 1))
    for number, text in rows().items():
        assert [t for _, t in NAMED.findall(text) if t] or "not covered" in text, number


def test_kinds_named_are_kinds_of_the_schedules():
    for text in rows().values():
        for named in re.findall(r"schedules \(([^)]*)\)", text):
            assert set(re.findall(r"`(\w+)`", named)) <= set(KINDS), text


def test_a_test_that_does_not_exist_would_be_noticed():
    assert "test_nothing_of_this_name" not in names_in(Path(__file__))
    assert "test_what_is_named_exists" in names_in(Path(__file__))
