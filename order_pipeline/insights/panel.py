"""A shop's daily sales as one dense table, SKUs by days, with the days out of stock filled in.

Belongs here: the shape that models read, sums over windows of it. Not here: which sales count (``demand``).
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
    Flags = NDArray[np.bool_]

# A day out of stock is taken to have sold what the days in stock of this long before it sold on average.
FILL_FROM_DAYS = 56


class Panel(NamedTuple):
    """Daily sales of one shop.

    Attributes:
        skus: row labels, sorted.
        first_day: the calendar day of column 0.
        quantity: pieces, SKUs x days; on days out of stock what would probably have sold, and never less than did.
        in_stock: SKUs x days; False: the quantity is an estimate and no forecast is judged by it.
        born: column of each SKU's first day, by sales or by ``first_seen``.
        cumulated: SKUs x (days + 1): pieces before that column.
        missing: SKUs x (days + 1): days out of stock before that column.
        promotions: kinds x SKUs x (days + 1), strength before that column summed up; may reach past the sales.

    """

    skus: pd.Index
    first_day: date
    quantity: Numbers
    in_stock: Flags
    born: NDArray[np.int64]
    cumulated: Numbers
    missing: Numbers
    promotions: Numbers

    @property
    def days(self) -> int:
        """How many days of sales there are."""
        return int(self.quantity.shape[1])

    def column(self, day: date) -> int:
        """Return the column of a day, which may lie outside the table."""
        return (day - self.first_day).days

    def sums(self, start: int, end: int, rows: NDArray[Any] | slice = slice(None)) -> Numbers:
        """Return the pieces sold from column ``start`` up to but without ``end``; before column 0 nothing was sold."""
        return self.cumulated[rows, max(end, 0)] - self.cumulated[rows, max(start, 0)]

    def weeks(self, origin: int, count: int, rows: NDArray[Any] | slice = slice(None)) -> Numbers:
        """Return the last ``count`` 7-day sums before column ``origin``, oldest first; fewer of a short history."""
        import numpy as np

        edges = np.arange(origin - 7 * min(count, origin // 7), origin + 1, 7)
        return np.diff(self.cumulated[rows][:, edges], axis=1)

    def is_whole(self, start: int, end: int, rows: NDArray[Any] | slice = slice(None)) -> Flags:
        """Tell for which SKUs no day of the window was out of stock."""
        return self.missing[rows, end] == self.missing[rows, max(start, 0)]  # type: ignore[no-any-return]


def make_panel(
    sales: pd.DataFrame,
    first_day: date,
    until: date,
    *,
    first_seen: pd.Series | None = None,
    promotions: pd.DataFrame | None = None,
    promotions_until: date | None = None,
) -> Panel:
    """Lay one shop's daily sales out as a table of the days from ``first_day`` up to but without ``until``.

    Args:
        sales: ``sku``, ``day``, ``quantity`` and, optionally, ``in_stock`` (see ``demand``); other days are ignored.
        first_day: first day of the table; a year of history is enough.
        until: the first day that is not known yet.
        first_seen: SKU to the day that it was first listed, where that is known; otherwise its first sale counts.
        promotions: ``sku``, ``day``, ``kind``, ``strength`` (0 = none, 1 = everywhere), past and planned. SKUs without
            a row are not promoted.
        promotions_until: how far the plan is known; promotions after it are ignored. Default: ``until``.

    Raises:
        ValueError: the window holds no day.

    """
    import numpy as np
    import pandas as pd

    width = (until - first_day).days
    if width < 1:
        raise ValueError(f"no day between {first_day} and {until}: the first day must come before the last")
    day = pd.to_datetime(sales["day"])
    sales = sales[(day >= pd.Timestamp(first_day)) & (day < pd.Timestamp(until))]
    codes, skus = pd.factorize(sales["sku"], sort=True)
    columns = (pd.to_datetime(sales["day"]) - pd.Timestamp(first_day)).dt.days.to_numpy()
    quantity = np.zeros((len(skus), width))
    np.add.at(quantity, (codes, columns), sales["quantity"].to_numpy(dtype=float))
    in_stock = np.ones((len(skus), width), dtype=bool)
    if "in_stock" in sales:
        out = ~sales["in_stock"].to_numpy(dtype=bool)
        in_stock[codes[out], columns[out]] = False
    sold = quantity > 0
    born = np.where(sold.any(axis=1), sold.argmax(axis=1), width)
    if first_seen is not None:
        seen = (pd.to_datetime(first_seen.reindex(skus)) - pd.Timestamp(first_day)).dt.days
        born = np.minimum(born, seen.fillna(width).clip(lower=0).to_numpy(dtype=np.int64))
    _fill(quantity, in_stock, born)
    plan = _promotions(promotions, skus, first_day, promotions_until or until)
    return Panel(skus, first_day, quantity, in_stock, born, _cumulated(quantity), _cumulated(~in_stock), plan)


def _cumulated(values: NDArray[Any]) -> Numbers:
    import numpy as np

    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    return sums


def _fill(quantity: Numbers, in_stock: Flags, born: NDArray[np.int64]) -> None:
    """Put on each day out of stock what the days in stock before it sold, in place; uses nothing later."""
    import numpy as np

    concerned = np.flatnonzero(~in_stock.all(axis=1))
    for column in np.flatnonzero(~in_stock[concerned].all(axis=0)).tolist():
        rows = concerned[~in_stock[concerned, column]]
        start = max(column - FILL_FROM_DAYS, 0)
        # Filled days count as well, so that a long time without stock does not fade into no demand.
        lived = np.arange(start, column)[None, :] >= born[rows, None]
        days = lived.sum(axis=1)
        rate = (quantity[rows, start:column] * lived).sum(axis=1) / np.maximum(days, 1)
        quantity[rows, column] = np.maximum(quantity[rows, column], rate)


def _promotions(promotions: pd.DataFrame | None, skus: pd.Index, first_day: date, until: date) -> Numbers:
    import numpy as np
    import pandas as pd

    width = (until - first_day).days
    if promotions is None:
        return np.zeros((0, len(skus), width + 1))
    columns = (pd.to_datetime(promotions["day"]) - pd.Timestamp(first_day)).dt.days
    inside = (columns >= 0) & (columns < width) & promotions["sku"].isin(skus)
    kinds = sorted(promotions["kind"].unique())
    strength = np.zeros((len(kinds), len(skus), width))
    for number, kind in enumerate(kinds):
        those = promotions[inside & (promotions["kind"] == kind)]
        strength[number, skus.get_indexer(those["sku"]), columns[those.index].to_numpy()] = those["strength"]
    return _cumulated(strength)


def day_of(panel: Panel, column: int) -> date:
    """Return the calendar day of a column."""
    return panel.first_day + timedelta(days=column)
