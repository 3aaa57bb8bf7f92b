"""make bench-insights: forecasts, purchase lists and stock, on two real shops. The last line is one JSON object.

The second shop is read from the file that --online-retail or ORDER_PIPELINE_ONLINE_RETAIL names: UCI Online Retail
(CC BY 4.0) as parquet with the original columns. Without it its figures are null.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from bench.insights_data import (
    COMPLETE_JOURNEY_FROM,
    ONLINE_RETAIL_FROM,
    Store,
    complete_journey,
    of_scored,
    online_retail,
    rows_of,
    store,
)
from bench.insights_stalls import detection, rules
from order_pipeline.insights.backtest import LEVEL, rolling_origin, scores
from order_pipeline.insights.forecasting import forecast
from order_pipeline.insights.inventory_replay import REVIEW_DAYS, Outcome, lost_at, replay
from order_pipeline.insights.panel import day_of, make_panel
from order_pipeline.insights.quantiles import demand_quantile, pinball
from order_pipeline.insights.replenishment import suggest
from order_pipeline.insights.suppliers import check_suppliers

MANY = 10_000
LEAD_TIME_DAYS = 5
REPLAYED_WEEKS = 12
SERVICE_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
RULE_FACTORS = (0.6, 0.8, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
# Where the two rules are compared: the 7-day mean with the buffer that people give it.
USUAL_FACTOR = 1.3
Figures = dict[str, float | None]


def main() -> None:
    """Measure, print, and end with the figures as JSON."""
    parser = argparse.ArgumentParser(prog="make bench-insights", description=__doc__)
    parser.add_argument("--online-retail", type=Path, default=os.environ.get("ORDER_PIPELINE_ONLINE_RETAIL"))
    parser.add_argument("--picture", type=Path, default=Path("bench-insights.png"), help="the trade-off curve")
    options = parser.parse_args()
    console = Console(stderr=True, width=130)
    sales, promotions = complete_journey()
    stores = [store("Complete Journey", sales, COMPLETE_JOURNEY_FROM)]
    figures = dict(accuracy(stores[0], "cj", console))
    promoted = store("Complete Journey, promotions known", sales, COMPLETE_JOURNEY_FROM, promotions)
    figures["wape_cj_promotions"] = accuracy(promoted, "promotions", console)["wape_promotions"]
    path = options.online_retail and Path(options.online_retail)
    if path and path.exists():
        stores.append(store("Online Retail", online_retail(path), ONLINE_RETAIL_FROM))
        figures |= accuracy(stores[1], "or", console)
    else:
        console.print(
            f"Online Retail is not measured: {path or 'no file named'}"
            f"{' does not exist' if path else ''}; name it with --online-retail or ORDER_PIPELINE_ONLINE_RETAIL"
        )
        figures |= dict.fromkeys(("wape_or", "bias_or", "coverage_or", "pinball_or", "long_coverage_or"))
    figures |= speed(sales, console)
    figures |= inventory(stores, options.picture, console)
    figures |= rules(console) | detection(console)
    print(json.dumps({name: None if value is None else round(value, 4) for name, value in figures.items()}))


def accuracy(its: Store, short: str, console: Console) -> Figures:
    """Rolling origin: the forecast against the 7-day mean, by class of demand."""
    began = time.perf_counter()
    judged = rolling_origin(its.panel, its.origins, its.skus)
    table = Table(
        title=f"{its.name}: {len(its.skus):,} of {len(its.panel.skus):,} SKUs, {len(its.origins)} origins, "
        f"{time.perf_counter() - began:.0f} s"
    )
    by_class = scores(judged)
    table.add_column("demand")
    for heading in by_class.columns:
        table.add_column(heading.replace("_", " "), justify="right")
    for name, row in by_class.iterrows():
        table.add_row(str(name), *(f"{value:,.0f}" if value > 10 else f"{value:.3f}" for value in row))
    console.print(table)
    buffered = pinball(judged["actual"].to_numpy(), judged["week_before"].to_numpy() * 1.3, LEVEL).sum()
    every = by_class.loc["all"]
    long = judged[judged["long_actual"].notna()]
    rule = float((long["long_actual"] <= long["long_rule"]).mean())
    console.print(
        f"against the 7-day mean: WAPE x {every['wape'] / every['wape_week_before']:.3f}; pinball of 7-day mean x 1.3: "
        f"{buffered / every['sold']:.3f}; 28 days: coverage {every['long_coverage']:.3f}, "
        f"four times the last week {rule:.3f}"
    )
    names = {"wape": "wape", "bias": "bias", "coverage": "coverage", "pinball": "pinball"}
    figures: Figures = {f"{name}_{short}": float(every[column]) for name, column in names.items()}  # type: ignore[arg-type]
    figures[f"wape_ratio_{short}"] = float(every["wape"] / every["wape_week_before"])  # type: ignore[arg-type]
    figures[f"long_coverage_{short}"] = float(every["long_coverage"])  # type: ignore[arg-type]
    return figures


def speed(sales: pd.DataFrame, console: Console) -> Figures:
    """Forecast and purchase list for 10,000 SKUs with a year of sales each."""
    largest = sales.groupby("sku")["quantity"].sum().nlargest(MANY).index
    some = sales[sales["sku"].isin(largest)]
    first, until = some["day"].min().date(), some["day"].max().date() + timedelta(days=1)
    forecast(make_panel(some[some["sku"].isin(largest[:50])], first, until), until)  # loads the libraries
    began, began_cpu = time.perf_counter(), time.process_time()
    said = forecast(make_panel(some, first, until), until)
    forecast_seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
    random = np.random.default_rng(1)
    skus = said["sku"]
    stock = pd.DataFrame({"sku": skus, "on_hand": random.integers(0, 60, len(skus)), "reserved": 0, "held": 0})
    suppliers = pd.DataFrame(
        {"sku": skus, "lead_time_days": random.integers(1, 40, len(skus)), "moq": 10, "pack_size": 6}
    )
    began = time.perf_counter()
    restock = suggest(said, stock, check_suppliers(suppliers)[0])
    restock_seconds = time.perf_counter() - began
    console.print(
        f"{len(said):,} SKUs x {(until - first).days} days: forecast {forecast_seconds:.1f} s ({cpu_seconds:.1f} s of "
        f"CPU), purchase list "
        f"{restock_seconds:.2f} s ({int((restock.suggestions['quantity'] > 0).sum()):,} lines to buy)"
    )
    return {"seconds_per_10000_skus": forecast_seconds, "restock_seconds_per_10000_skus": restock_seconds}


def inventory(stores: list[Store], picture: Path, console: Console) -> Figures:
    """Replay the stock under both rules, and compare them at equal average stock."""
    from matplotlib.figure import Figure

    image = Figure(figsize=(6 * len(stores), 4), layout="constrained")
    ratios = []
    for number, its in enumerate(stores):
        ours, rule = curves(of_scored(its))
        table = Table(
            title=f"{its.name}: stock replayed, {LEAD_TIME_DAYS} days to deliver, a review every {REVIEW_DAYS}"
        )
        headings = ("7-day mean x", "average stock", "lost", "lost, order-up-to from the forecast, same stock", "ratio")
        for heading in headings:
            table.add_column(heading, justify="right")
        for factor, outcome in zip(RULE_FACTORS, rule, strict=True):
            lost = lost_at(ours, outcome.average_stock)
            share = ("" if np.isnan(value) else f"{value / outcome.demand:.1%}" for value in (outcome.lost, lost))
            table.add_row(
                f"{factor:g}",
                f"{outcome.average_stock:,.0f}",
                *share,
                "" if np.isnan(lost) else f"{lost / outcome.lost:.3f}",
            )
            if factor == USUAL_FACTOR:
                ratios.append(lost / outcome.lost)
        console.print(table)
        axes = image.add_subplot(1, len(stores), number + 1)
        for label, curve in (("7-day mean x factor", rule), ("forecast quantile", ours)):
            axes.plot([o.average_stock for o in curve], [o.lost / o.demand for o in curve], marker="o", label=label)
        axes.set(title=its.name, xlabel="average stock, pieces", ylabel="share of demand lost")
        axes.legend()
    image.savefig(picture)
    console.print(f"trade-off curve: {picture}")
    # The worse of the shops.
    return {"lost_units_ratio": max(ratios)}


def curves(its: Store) -> tuple[list[Outcome], list[Outcome]]:
    """Return the outcomes of our rule by service level, and of the 7-day mean's by factor."""
    panel, rows = its.panel, rows_of(its)
    cover = LEAD_TIME_DAYS + REVIEW_DAYS
    start = panel.days - REPLAYED_WEEKS * REVIEW_DAYS
    demand = panel.quantity[rows, start:]
    said, means = [], []
    for review in range(REPLAYED_WEEKS):
        at = start + review * REVIEW_DAYS
        its_forecast = forecast(panel, day_of(panel, at)).set_index("sku").reindex(its.skus)
        said.append(its_forecast[["mean", "variance", "growth"]].fillna({"mean": 0, "variance": 0, "growth": 1}))
        means.append(panel.sums(at - 7, at, rows) / 7)
    mean, variance, growth = (
        np.stack([each[name] for each in said], axis=1) for name in ("mean", "variance", "growth")
    )
    ours = [
        replay(demand, demand_quantile(mean, variance, cover, level, growth), lead_time_days=LEAD_TIME_DAYS)
        for level in SERVICE_LEVELS
    ]
    rule = np.stack(means, axis=1) * cover
    theirs = [replay(demand, np.ceil(rule * factor), lead_time_days=LEAD_TIME_DAYS) for factor in RULE_FACTORS]
    return ours, theirs


if __name__ == "__main__":
    main()
