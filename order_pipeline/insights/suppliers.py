"""Suppliers' data as people write it: checked row by row, in words that name row and column.

Belongs here: what a supplier row must hold. Not here: reading the file or table, and what to buy (``replenishment``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from order_pipeline.insights.demand import Problem

if TYPE_CHECKING:
    import pandas as pd


class Limits(NamedTuple):
    """What a column may hold: bounds (inclusive), whether it must be whole, what stands in for an empty cell."""

    least: float
    most: float
    whole: bool
    default: float | None


# Beyond the upper bounds a value is taken for a slip of the pen: nobody waits two years or buys ten million pieces.
COLUMNS = {
    "lead_time_days": Limits(0, 730, whole=False, default=None),
    "moq": Limits(1, 10_000_000, whole=True, default=1),
    "pack_size": Limits(1, 10_000_000, whole=True, default=1),
    "on_order": Limits(0, 10_000_000, whole=True, default=0),
    "lead_time_sd_days": Limits(0, 365, whole=False, default=0),
    "max_cover_days": Limits(1, 3_650, whole=False, default=float("inf")),
}


def check_suppliers(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """Return the usable rows, as numbers and with defaults, and what is wrong with the others.

    Args:
        rows: ``sku`` and the columns of ``COLUMNS``, of whatever type; only ``sku`` and ``lead_time_days`` must be
            there. The frame's index should be what people count rows by (the line of the file, say).

    Raises:
        ValueError: a column that must be there is not.

    """
    import pandas as pd

    absent = [name for name in ("sku", "lead_time_days") if name not in rows]
    if absent:
        raise ValueError(f"suppliers: column {', '.join(absent)} is missing; found {', '.join(map(str, rows.columns))}")
    good = pd.Series(True, index=rows.index)
    sku = rows["sku"].astype("string").str.strip()
    checked = pd.DataFrame({"sku": sku})
    nameless = sku.isna() | (sku == "")
    problems = [Problem(row, "sku", "empty; write the SKU code") for row in rows.index[nameless]]
    twice = sku.duplicated() & ~nameless
    problems += [
        Problem(row, "sku", f"{sku[row]} stands in an earlier row too, which counts; delete one")
        for row in rows.index[twice]
    ]
    good &= ~nameless & ~twice
    for name, limits in COLUMNS.items():
        written = rows[name] if name in rows else pd.Series(None, index=rows.index, dtype=object)
        empty = written.isna() | (written.astype("string").str.strip() == "").fillna(value=True)
        number = pd.to_numeric(written, errors="coerce").astype(float)
        wrong = ~empty & ~(
            number.between(limits.least, limits.most) & ((number == number.round()) | (not limits.whole))
        )
        if limits.default is None:
            wrong |= empty
        for row in rows.index[wrong]:
            kind = "a whole number" if limits.whole else "a number"
            said = "empty" if empty[row] else repr(written[row])
            problems.append(
                Problem(row, name, f"{said}; write {kind} from {limits.least:g} to {limits.most:g} (SKU {sku[row]})")
            )
        good &= ~wrong
        checked[name] = number if limits.default is None else number.where(~empty, limits.default)
    return checked[good], problems
