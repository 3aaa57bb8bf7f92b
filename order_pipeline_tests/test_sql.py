"""SQL holds no values: they are bound. Read from the source, since no run would show it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "order_pipeline"

# What executes or prepares SQL.
SINKS = {"text", "execute", "execute_values", "executemany", "copy_expert", "exec_driver_sql", "mogrify"}


def _statements(tree: ast.AST) -> Iterator[tuple[ast.Call, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in SINKS:
                yield node, node.args[0]


def bound_names(source: str) -> set[str]:
    """Return the names under which values are bound: in this module they are values."""
    return {
        key.value
        for call, _ in _statements(ast.parse(source))
        for given in call.args[1:]
        if isinstance(given, ast.Dict)
        for key in given.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def written_values(source: str, values: set[str]) -> list[tuple[int, str]]:
    """Return where a value is written into SQL: by its name, where only a value can stand, or by old formatting."""
    found = []
    for call, sql in _statements(ast.parse(source)):
        if isinstance(sql, ast.BinOp) and isinstance(sql.op, ast.Mod):
            found.append((call.lineno, "formatted with %"))
        # psycopg2's own SQL(...).format(...) quotes what it is given; text's does not.
        if (
            isinstance(sql, ast.Call)
            and isinstance(sql.func, ast.Attribute)
            and sql.func.attr == "format"
            and not ast.unparse(sql.func.value).startswith("sql.SQL(")
        ):
            found.append((call.lineno, "formatted with format()"))
        for joined in ast.walk(sql):
            before = ""
            for part in joined.values if isinstance(joined, ast.JoinedStr) else ():
                if isinstance(part, ast.FormattedValue):
                    nodes = [node for node in ast.walk(part.value) if isinstance(node, ast.Name)]
                    # A Subject is nothing but names of tables and their keys (warehouse/subjects.py).
                    is_subject = ast.unparse(part.value).startswith("subject.")
                    names = {node.id for node in nodes} - ({"subject"} if is_subject else set())
                    # Looked up in a constant, whatever by, it is one of that constant's.
                    if isinstance(part.value, ast.Subscript):
                        names = {ast.unparse(part.value.value)}
                    is_constant = bool(names) and all(name.isupper() for name in names)
                    if names & values or (not is_constant and before.rstrip().endswith(("'", "=", "<", ">"))):
                        found.append((call.lineno, ast.unparse(part.value)))
                    before = ""
                else:
                    before = str(ast.literal_eval(part))
    return found


def _modules() -> Iterator[tuple[str, str]]:
    # Migrations take no value from anywhere: what they say is in them.
    return ((str(path), path.read_text()) for path in PACKAGE.rglob("*.py") if "migrations" not in path.parts)


def test_no_value_is_written_into_sql() -> None:
    found = {path: parts for path, source in _modules() if (parts := written_values(source, bound_names(source)))}
    assert found == {}


def test_a_value_in_sql_would_be_found() -> None:
    values = bound_names('execute(text("SELECT :shop_id"), {"shop_id": shop_id})')
    assert values == {"shop_id"}
    for written in (
        """text(f"SELECT * FROM t WHERE shop = '{shop}'")""",
        """text(f"SELECT * FROM t WHERE shop = {shop}")""",
        """text(f"SELECT * FROM {shop_id}")""",
        """cursor.execute("SELECT %s" % shop)""",
        """cursor.execute("SELECT {}".format(shop))""",
    ):
        assert written_values(written, values), written
    assert written_values("""text(f"SELECT * FROM {subject.table} WHERE day = {_NOW} LIMIT {SIZE}")""", values) == []
