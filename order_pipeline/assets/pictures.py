"""Pictures in an asset's metadata.

Belongs here: drawing. Not here: the numbers.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from order_pipeline.insights.forecasting import WEEK
from order_pipeline.insights.panel import Panel
from order_pipeline.warehouse.flow import HourArrivals, HourLag

if TYPE_CHECKING:
    import pandas as pd

WEEKS_SHOWN = 13
LARGEST_SHOWN = 5
INK, PALE = "#1f6feb", "#9fb6d8"
# Seconds, and how people call them.
SPANS = ((0, "0"), (1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (36_000, "10 h"),
         (604_800, "1 week"))  # fmt: skip


def forecast_picture(shop_id: str, panel: Panel, frame: pd.DataFrame) -> dg.MetadataValue[Any]:
    """Draw what was sold in the last weeks and what is expected of the next: the shop, and its largest SKUs."""
    import numpy as np
    from matplotlib.figure import Figure

    largest = frame.nlargest(LARGEST_SHOWN, "mean", keep="first")
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = np.ravel(figure.subplots(2, 3))
    weeks = panel.weeks(panel.days, WEEKS_SHOWN)
    places = np.arange(-weeks.shape[1], 0)

    def draw(axis: Any, title: str, sold: Any, mean: float, high: float | None) -> None:
        axis.bar(places, sold, color=PALE, label="sold")
        error = None if high is None else [[0], [max(high - mean, 0)]]
        axis.bar([0], [mean], color=INK, yerr=error, capsize=4, label="expected, up to q90")
        axis.set_title(title, fontsize=9)
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=8)

    # Quantiles of single SKUs do not add up to one of the shop.
    draw(axes[0], "all SKUs, pieces a week", weeks.sum(axis=0), float(frame["mean"].sum()), None)
    for axis, (_, row) in zip(axes[1:], largest.iterrows(), strict=False):
        (place,) = np.flatnonzero(panel.skus == row["sku"])
        # Codes may be in any script; the picture's font may not have it.
        draw(axis, str(row["sku"]).encode("ascii", "replace").decode(), weeks[place], row["mean"], row["q90"])
    for axis in axes[1 + len(largest) :]:
        axis.set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    for axis in axes[3:]:
        axis.set_xlabel("weeks from now", fontsize=8)
    figure.suptitle(f"{shop_id}: the {WEEK} days that begin with {panel.first_day + _days(panel)}", fontsize=10)
    return _embedded(figure, "forecast against sales")


def arrivals_picture(day: date, hours: Sequence[HourArrivals]) -> dg.MetadataValue[Any]:
    """Draw the orders of a day by the hour when they were placed, beside what is usual."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axis = figure.subplots()
    axis.bar([each.hour for each in hours], [each.orders for each in hours], color=INK, label=f"{day}")
    usual = {each.hour: each.usual for each in hours}
    axis.step(range(24), [usual.get(hour, 0) for hour in range(24)], where="mid", color="black", label="usual")
    axis.set_title("orders placed, by hour", fontsize=9)
    _label_hours(axis)
    axis.legend(frameon=False, fontsize=8)
    return _embedded(figure, "arrivals by hour")


def lag_picture(day: date, hours: Sequence[HourLag]) -> dg.MetadataValue[Any]:
    """Draw how long changes of a day waited for their details, by the hour of the change."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axis = figure.subplots()
    places = [each.hour for each in hours]
    axis.plot(places, [each.late_seconds for each in hours], color=PALE, marker="o", label="95 % within")
    axis.plot(places, [each.median_seconds for each in hours], color=INK, marker="o", label="half within")
    # Three seconds by messages and hours of a first load are both of interest.
    axis.set_yscale("symlog", linthresh=1)
    highest = max([60.0, *(each.late_seconds for each in hours)])
    shown = [(seconds, said) for seconds, said in SPANS if seconds <= highest]
    axis.set_yticks([seconds for seconds, _ in shown], [said for _, said in shown])
    axis.minorticks_off()
    axis.set_ylim(0, highest * 1.5)
    axis.set_title(f"from an order's last change on {day} to the request for its details", fontsize=9)
    _label_hours(axis)
    axis.legend(frameon=False, fontsize=8)
    return _embedded(figure, "lag by hour")


def _label_hours(axis: Any) -> None:
    axis.set_xlim(-0.6, 23.6)
    axis.set_xticks(range(0, 24, 2), [f"{hour}:00" for hour in range(0, 24, 2)])
    axis.tick_params(labelsize=8)


def _embedded(figure: Any, said: str) -> dg.MetadataValue[Any]:
    """Return the figure as text that the UI shows as a picture."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=80)
    encoded = base64.b64encode(image.getvalue()).decode()
    return dg.MetadataValue.md(f"![{said}](data:image/png;base64,{encoded})")


def _days(panel: Panel) -> Any:
    from datetime import timedelta

    return timedelta(days=panel.days)
