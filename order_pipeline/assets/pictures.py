"""Pictures in an asset's metadata.

Belongs here: drawing. Not here: the numbers.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import dagster as dg

from order_pipeline.insights.forecasting import WEEK
from order_pipeline.insights.panel import Panel

if TYPE_CHECKING:
    import pandas as pd

WEEKS_SHOWN = 13
LARGEST_SHOWN = 5
INK, PALE = "#1f6feb", "#9fb6d8"


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
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=80)
    encoded = base64.b64encode(image.getvalue()).decode()
    return dg.MetadataValue.md(f"![forecast against sales](data:image/png;base64,{encoded})")


def _days(panel: Panel) -> Any:
    from datetime import timedelta

    return timedelta(days=panel.days)
