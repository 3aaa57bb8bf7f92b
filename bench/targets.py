"""What the figures have to reach, as a table and as pictures.

Belongs here: the limits and how they are shown. Not here: how a figure is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

# Pictures are of one machine's one run; git knows nothing of them.
PICTURES = Path(__file__).parent.parent / ".bench"


class Target(NamedTuple):
    """A limit that a figure has to keep: at least or at most."""

    figure: str
    limit: float
    is_least: bool
    says: str

    def is_reached(self, value: float) -> bool:
        """Whether that is good enough."""
        return value >= self.limit if self.is_least else value <= self.limit

    def margin(self, value: float) -> float:
        """How many times better than the limit; below 1: worse. A limit of nothing is kept or not."""
        if not value or not self.limit:
            return 2.0 if self.is_reached(value) else 0.0
        return value / self.limit if self.is_least else self.limit / value


TARGETS = (
    Target("first_load_vs_raw_floor", 0.7, True, "first load against a hand-written one that keeps raw, too"),
    Target("first_load_vs_dlt", 2.0, True, "first load against dlt, which keeps no raw"),
    Target("incremental_vs_dlt", 3.0, True, "5 % changed, against dlt"),
    Target("details_per_s", 1_000, True, "orders with details landed a second, 0 ms a call"),
    Target("budget_used", 0.97, True, "rate budget used, 600 and 6,000 a minute, 1 and 4 processes"),
    Target("over_budget", 0, False, "calls over it"),
    Target("budget_used_with_latency", 0.97, True, "rate budget used at 50 ms a call"),
    Target("calls_vs_minimum", 1.02, False, "detail calls against one a version"),
    Target("freshness_p95_s", 3.0, False, "seconds from change to bi.orders while traffic flows"),
    Target("freshness_after_silence_p95_s", 12.0, False, "the same of the first change after silence"),
    Target("growth_ratio", 1.2, False, "time of pass, proof and worklist, long history against short"),
    Target("growth_bi_ratio", 1.2, False, "the same of BI queries"),
    Target("growth_calls_ratio", 1.2, False, "the same of calls"),
    Target("peak_mb", 250, False, "MB of a run at its highest"),
    Target("dev_mb", 900, False, "MB of everything under dev"),
    Target("backfill_vs_calls", 1.3, False, "90 days against the bare calls, 50 ms a call"),
)


def show(figures: Mapping[str, Any], console: Console) -> None:
    """Print what was reached of what was measured."""
    table = Table(title="what to reach")
    for heading in ("", "figure", "limit", "reached", ""):
        table.add_column(heading, justify="right" if heading in ("limit", "reached") else "left")
    for target, value in _measured(figures):
        limit = f"{'≥' if target.is_least else '≤'} {target.limit:,g}"
        verdict = "[green]yes[/]" if target.is_reached(value) else "[red]no[/]"
        table.add_row(target.says, target.figure, limit, f"{value:,g}", verdict)
    console.print(table)


def draw(figures: Mapping[str, Any], folder: Path = PICTURES) -> list[Path]:
    """Write a picture of what was reached, and one of the speeds beside each other; return the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(exist_ok=True)
    written = []
    speeds = {
        "floor by hand": figures.get("floor_orders_per_s"),
        "the same with raw": figures.get("raw_floor_orders_per_s"),
        "order_pipeline": figures.get("list_orders_per_s"),
        "dlt": figures.get("dlt_orders_per_s"),
    }
    margins = {target.figure: target.margin(value) for target, value in _measured(figures)}
    for name, title, bars, line in (
        ("targets", "times better than the limit (1: just reached)", margins, 1.0),
        ("loads", "first load, orders a second", {name: speed for name, speed in speeds.items() if speed}, None),
    ):
        if not bars:
            continue
        figure, axes = plt.subplots(figsize=(9, 1 + 0.4 * len(bars)))
        axes.barh(list(bars)[::-1], list(bars.values())[::-1])
        if line:
            axes.axvline(line, color="black", linewidth=1)
        axes.set_title(title)
        figure.tight_layout()
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1])
        plt.close(figure)
    return written


def _measured(figures: Mapping[str, Any]) -> list[tuple[Target, float]]:
    return [(target, figures[target.figure]) for target in TARGETS if figures.get(target.figure) is not None]
