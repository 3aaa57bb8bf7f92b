"""The merchant's own lists as CSV: what suppliers deliver on which terms, and what bundles are made of.

Belongs here: from text to rows, with a message naming row and column for everything that is wrong. Pure. Not here:
opening files, storing rows (sync/merchant_files.py).

Nothing is guessed: an empty cell stays unknown, and a row with a mistake is left out as a whole and named.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any, Generic, NamedTuple, TypeVar

# A year to deliver, and stocks of hundreds of millions, are mistakes of a spreadsheet (a date, a phone number).
LONGEST_LEAD_TIME_DAYS = 730
LARGEST_QUANTITY = 100_000_000

Row = TypeVar("Row")


class SupplierItem(NamedTuple):
    """On which terms a SKU is bought. None: unknown.

    Exactly one of ``sku_code`` (the merchant's own) and ``sku_id`` (the platform's) names it; ``shop_id`` None: in
    every shop. ``on_order`` pieces are expected on ``on_order_due``; costs are yuan.
    """

    shop_id: str | None
    sku_code: str | None
    sku_id: str | None
    supplier: str
    lead_time_days: int | None
    lead_time_deviation_days: Decimal | None
    moq: int | None
    pack_size: int | None
    on_order: int | None
    on_order_due: date | None
    unit_cost: Decimal | None


class BundlePart(NamedTuple):
    """``quantity`` pieces of one code are in one piece of another."""

    bundle_code: str
    component_code: str
    quantity: int


class Problem(NamedTuple):
    """What is wrong with a file: ``row`` as a spreadsheet counts it (1: the headings), ``column`` by its heading."""

    row: int
    column: str
    said: str

    def __str__(self) -> str:
        place = f"row {self.row}" + (f", column {self.column}" if self.column else "")
        return f"{place}: {self.said}"


class Parsed(NamedTuple, Generic[Row]):
    """The rows that are right, and what is wrong with the others."""

    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


class _WrongCellError(ValueError):
    """A cell that is not what its column holds."""


def _text(cell: str) -> str | None:
    return cell or None


def _needed_text(cell: str) -> str:
    if not cell:
        raise _WrongCellError("is empty; write it, or take the row out")
    return cell


def _whole(least: int, most: int) -> Callable[[str], int | None]:
    def read(cell: str) -> int | None:
        if not cell:
            return None
        # Spreadsheets write 12 as 12.0 when another row of the column has fractions.
        digits = cell.removesuffix(".0")
        if not (digits.isascii() and digits.removeprefix("-").isdecimal()) or len(digits) > 12:
            raise _WrongCellError(f"{_shown(cell)} is no whole number; write digits only, or leave it empty")
        if not least <= int(digits) <= most:
            raise _WrongCellError(f"{_shown(cell)} is not between {least} and {most}; correct it, or leave it empty")
        return int(digits)

    return read


def _needed_whole(least: int, most: int) -> Callable[[str], int]:
    read = _whole(least, most)

    def needed(cell: str) -> int:
        number = read(_needed_text(cell))
        assert number is not None  # noqa: S101 - only an empty cell is None
        return number

    return needed


def _decimal(cell: str) -> Decimal | None:
    if not cell:
        return None
    try:
        number = Decimal(cell)
    except InvalidOperation:
        raise _WrongCellError(f"{_shown(cell)} is no number; write it like 3.5, or leave it empty") from None
    if not number.is_finite() or not 0 <= number <= LARGEST_QUANTITY:
        raise _WrongCellError(f"{_shown(cell)} is not between 0 and {LARGEST_QUANTITY}; correct it")
    return number


def _day(cell: str) -> date | None:
    if not cell:
        return None
    try:
        return date.fromisoformat(cell.replace("/", "-"))
    except ValueError:
        raise _WrongCellError(f"{_shown(cell)} is no date; write it like 2026-03-31, or leave it empty") from None


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else f"{cell[:40]}...")


# Heading -> reader of its cells, in the order of the fields.
_SUPPLIER_COLUMNS: dict[str, Callable[[str], Any]] = {
    "shop": _text,
    "sku_code": _text,
    "sku_id": _text,
    "supplier": _needed_text,
    "lead_time_days": _whole(0, LONGEST_LEAD_TIME_DAYS),
    "lead_time_deviation_days": _decimal,
    "moq": _whole(1, LARGEST_QUANTITY),
    "pack_size": _whole(1, LARGEST_QUANTITY),
    "on_order": _whole(0, LARGEST_QUANTITY),
    "on_order_due": _day,
    "unit_cost": _decimal,
}
_BUNDLE_COLUMNS: dict[str, Callable[[str], Any]] = {
    "bundle_code": _needed_text,
    "component_code": _needed_text,
    "quantity": _needed_whole(1, LARGEST_QUANTITY),
}


def parse_suppliers(text: str) -> Parsed[SupplierItem]:
    """Read a list of suppliers: one row a SKU, headings as the fields of SupplierItem, of which supplier is needed."""
    rows, problems = _read(text, _SUPPLIER_COLUMNS, needed=("supplier",))
    items: list[SupplierItem] = []
    seen: dict[tuple[str | None, str | None, str | None], int] = {}
    for number, cells in rows:
        item = SupplierItem(*(cells.get(column) for column in _SUPPLIER_COLUMNS))  # type: ignore[arg-type]
        if bool(item.sku_code) == bool(item.sku_id):
            said = "name the SKU by one of the two: your own sku_code or the platform's sku_id"
            problems.append(Problem(number, "sku_code, sku_id", said))
            continue
        key = (item.shop_id, item.sku_code, item.sku_id)
        if key in seen:
            said = f"the same SKU is in row {seen[key]}; keep the supplier that it is bought from"
            problems.append(Problem(number, "sku_code" if item.sku_code else "sku_id", said))
            continue
        seen[key] = number
        items.append(item)
    return Parsed(tuple(items), tuple(sorted(problems)))


def parse_bundles(text: str) -> Parsed[BundlePart]:
    """Read what bundles are made of: one row a part, headings bundle_code, component_code, quantity.

    A bundle with a wrong row is left out whole: with a part missing it would reserve too little.
    """
    rows, problems = _read(text, _BUNDLE_COLUMNS, needed=tuple(_BUNDLE_COLUMNS))
    parts: dict[tuple[str, str], BundlePart] = {}
    broken = {code for code, number in _codes(text, "bundle_code") if number in {each.row for each in problems}}
    for number, cells in rows:
        part = BundlePart(**cells)
        if part.bundle_code == part.component_code:
            problems.append(Problem(number, "component_code", "a bundle is no part of itself; correct it"))
            broken.add(part.bundle_code)
        elif (part.bundle_code, part.component_code) in parts:
            said = "the same part of the same bundle is there already; add the quantities up in one row"
            problems.append(Problem(number, "component_code", said))
            broken.add(part.bundle_code)
        else:
            parts[part.bundle_code, part.component_code] = part
    kept = tuple(part for part in parts.values() if part.bundle_code not in broken)
    return Parsed(kept, tuple(sorted(problems)))


def _read(
    text: str, columns: dict[str, Callable[[str], Any]], *, needed: Sequence[str]
) -> tuple[list[tuple[int, dict[str, Any]]], list[Problem]]:
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    headings = [heading.strip().lower() for heading in next(reader, [])]
    problems = [_unknown(heading, columns) for heading in headings if heading and heading not in columns]
    problems += [Problem(1, name, "the column is missing; add it") for name in needed if name not in headings]
    twice = sorted({heading for heading in headings if heading and headings.count(heading) > 1})
    problems += [Problem(1, heading, "the column is there twice; keep one") for heading in twice]
    if problems:
        # Of a file whose headings are wrong no cell can be trusted.
        return [], problems
    rows = []
    for cells in reader:
        values: dict[str, Any] = {}
        wrong = []
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(headings):
            wrong.append(Problem(reader.line_num, "", f"it has {len(cells)} cells, the headings are {len(headings)}"))
        for heading, cell in zip(headings, [*cells, *[""] * len(headings)], strict=False):
            if not heading:
                continue
            try:
                values[heading] = columns[heading](cell.strip())
            except _WrongCellError as error:
                wrong.append(Problem(reader.line_num, heading, str(error)))
        problems += wrong
        if not wrong:
            rows.append((reader.line_num, values))
    return rows, problems


def _codes(text: str, column: str) -> list[tuple[str, int]]:
    """Return the cells of a column with their rows, of wrong rows too."""
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    headings = [heading.strip().lower() for heading in next(reader, [])]
    if column not in headings:
        return []
    place = headings.index(column)
    return [(cells[place].strip(), reader.line_num) for cells in reader if len(cells) > place]


def _unknown(heading: str, columns: dict[str, Callable[[str], Any]]) -> Problem:
    near = get_close_matches(heading, columns, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(columns)}"
    return Problem(1, heading[:40], f"the column is not known; {hint}")
