"""The floors of the house: no import runs upwards, and no two rooms import each other."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "order_pipeline"

# What each room may import of the package, besides itself and ``wording``, which every sentence may need.
# ``configuration`` lies under all that are configured.
MAY_IMPORT = {
    "wording": set(),
    "configuration": set(),
    "sandbox": set(),
    "insights": set(),
    "traffic": set(),
    "warehouse": set(),
    "notifications": {"configuration"},
    "launchers": set(),
    "platforms": {"traffic"},
    "metrics": {"configuration", "traffic", "warehouse"},
    "sync": {"configuration", "insights", "notifications", "platforms", "traffic", "warehouse"},
    "resources": {"configuration", "platforms", "sync", "traffic", "warehouse"},
    "assets": {"configuration", "resources", "sync", "warehouse", "insights"},
    "checks": {"configuration", "assets", "notifications", "resources", "sync", "warehouse", "insights"},
    "automation": {"configuration", "assets", "checks", "notifications", "resources", "sync", "warehouse"},
    "definitions": {"assets", "automation", "checks", "resources"},
    "commands": {
        "assets",
        "automation",
        "configuration",
        "definitions",
        "launchers",
        "metrics",
        "notifications",
        "platforms",
        "resources",
        "sandbox",
        "sync",
        "traffic",
        "warehouse",
    },
    "cli": {"configuration", "commands", "notifications", "resources", "sync", "traffic", "warehouse"},
}
DAGSTER_FREE = {
    "wording",
    "configuration",
    "sandbox",
    "insights",
    "metrics",
    "notifications",
    "traffic",
    "warehouse",
    "platforms",
    "sync",
}


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def _rooms() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if not room.startswith("__"):
            found.setdefault(room, set()).update(_imports(path))
    return found


def test_imports_run_downwards_only() -> None:
    for room, names in _rooms().items():
        used = {name.split(".")[1] for name in names if name.startswith("order_pipeline.")} - {room, "wording"}
        assert used <= MAY_IMPORT[room], f"{room} must not import {sorted(used - MAY_IMPORT[room])}"


def test_only_the_upper_rooms_know_dagster() -> None:
    for room, names in _rooms().items():
        if room in DAGSTER_FREE:
            assert not {name for name in names if name.split(".")[0] == "dagster"}, f"{room} imports dagster"


def test_no_module_is_a_drawer_for_everything() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert path.stem not in {"utils", "helpers", "common", "misc"}, path


def test_every_module_says_what_belongs_there() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no docstring"
