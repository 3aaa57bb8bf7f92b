"""docs/faults.md names every fault once, and tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "faults.md"
FAULTS = 31


def test_every_fault_names_tests_that_exist() -> None:
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| F")]
    assert [row.split("|")[1].strip() for row in rows] == [f"F{number}" for number in range(1, FAULTS + 1)]
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert test in names_in(TESTS / file), f"{file} has no {test}"


def names_in(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
