"""The merchant's lists of suppliers and bundles, from files into the warehouse.

Belongs here: opening a file, and what becomes of one with mistakes. Not here: what is a mistake
(insights/merchant_files.py), the tables (warehouse/merchant_lists.py).

A list is loaded whole: what it does not name any more is gone. Rows with mistakes are left out and named; a list
without a single good row is refused, as it is the wrong file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline import configuration
from order_pipeline.configuration import BUNDLES as BUNDLES_VARIABLE
from order_pipeline.configuration import SUPPLIERS as SUPPLIERS_VARIABLE
from order_pipeline.configuration import ConfigurationError
from order_pipeline.insights.merchant_files import Parsed, parse_bundles, parse_suppliers
from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.merchant_lists import (
    BUNDLES,
    SUPPLIERS,
    note_list,
    read_list_state,
    replace_bundle_parts,
    replace_suppliers,
)

# A hundred thousand SKUs with long names are a tenth of it.
LARGEST_FILE_BYTES = 100 * 1024 * 1024


class _List(NamedTuple):
    parse: Callable[[str], Parsed[Any]]
    replace: Callable[[Connection, Sequence[Sequence[Any]]], int]
    variable: str


_LISTS = {
    SUPPLIERS: _List(parse_suppliers, replace_suppliers, SUPPLIERS_VARIABLE),
    BUNDLES: _List(parse_bundles, replace_bundle_parts, BUNDLES_VARIABLE),
}


class Loaded(NamedTuple):
    """What came of a file: rows loaded, rows that were there before and are gone, and what was wrong."""

    name: str
    rows: int
    gone: int
    problems: tuple[str, ...]


def load_list(engine: Engine, name: str, path: Path) -> Loaded:
    """Load a list, ``suppliers`` or ``bundles``, from a CSV file, UTF-8 or GBK as spreadsheets write it.

    Raises ConfigurationError for a file that cannot be read or has no good row; then the former list stays.
    """
    chosen = _LISTS[name]
    content = _content(name, path)
    parsed = chosen.parse(_decoded(content))
    problems = tuple(map(str, parsed.problems))
    if not parsed.rows:
        why = f": {'; '.join(problems[:3])}" if problems else ""
        raise ConfigurationError(
            f"{path}: no row of it can be used, so the {name} stay as they are{why}; compare it with docs/stock.md"
        )

    def work(connection: Connection) -> int:
        gone = chosen.replace(connection, parsed.rows)
        note_list(connection, name, _fingerprint(content), len(parsed.rows), problems)
        return gone

    return Loaded(name, len(parsed.rows), in_transaction(engine, work), problems)


def load_configured(engine: Engine) -> list[str]:
    """Load the lists that the environment names, where they have changed; return what is wrong with all lists.

    A file that cannot be read is a problem too, and stops nothing: the former list stays.
    """
    said: list[str] = []
    for name, chosen in _LISTS.items():
        path = configuration.merchant_list(chosen.variable)
        try:
            with transaction(engine) as connection:
                held = read_list_state(connection, name)
            if path and (held is None or held.fingerprint != _fingerprint(_content(name, path))):
                load_list(engine, name, path)
        except ConfigurationError as error:
            said.append(str(error))
        with transaction(engine) as connection:
            held = read_list_state(connection, name)
        said += [f"{name}: {problem}" for problem in held.problems] if held else []
    return said


def _content(name: str, path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ConfigurationError(
                f"{path}: over {LARGEST_FILE_BYTES // 2**20} MB is no list of {name}; check the path"
            )
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the list of {name} cannot be read ({error.strerror}); check the path"
        ) from error


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # What spreadsheets write on a Chinese Windows; it takes any bytes that are no UTF-8 but a few.
        return content.decode("gb18030", errors="replace")


def _fingerprint(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
