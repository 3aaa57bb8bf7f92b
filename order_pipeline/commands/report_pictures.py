"""The pictures of the daily report, as addresses that hold the picture itself.

Belongs here: drawing a daybook. Not here: what stands around the pictures (report.py).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from order_pipeline.warehouse.daybook import DAYS_SHOWN, Daybook

WIDTH_INCHES, HEIGHT_INCHES = 9.0, 3.2
# A line a shop; more than this fit no more, and none is left out.
INCHES_PER_LINE = 0.28

GOOD, BAD, UNPROVEN = "#2da44e", "#cf222e", "#d0d7de"


def sales(book: Daybook) -> str:
    """Payments by day, shops stacked."""
    values = {(each.shop_id, each.day): float(each.payment) for each in book.sales}
    return _drawn(lambda axes: _stacked_days(axes, book, values, "yuan paid"))


def refunds(book: Daybook) -> str:
    """Money that went back by day, shops stacked."""
    values = {(each.shop_id, each.day): float(each.money) for each in book.refunds}
    return _drawn(lambda axes: _stacked_days(axes, book, values, "yuan refunded"))


def hours(book: Daybook) -> str:
    """Paid orders by hour of the day, and what is usual."""

    def draw(axes: Any) -> None:
        by_hour = {each.hour: each for each in book.hours}
        hours = range(24)
        axes.bar(hours, [by_hour[hour].orders if hour in by_hour else 0 for hour in hours], label=f"{book.day}")
        usual = [by_hour[hour].usual if hour in by_hour else 0 for hour in hours]
        axes.step(hours, usual, where="mid", color="black", label="average of the week before")
        axes.set_xticks(range(0, 24, 2), [f"{hour}:00" for hour in range(0, 24, 2)])
        axes.set_ylabel("paid orders")
        axes.legend(frameon=False)

    return _drawn(draw)


def freshness(book: Daybook) -> str:
    """Minutes from now to what is complete, a bar a shop and subject."""

    def draw(axes: Any) -> None:
        names = [f"{each.shop_id}, {each.subject}" for each in book.freshness]
        behind = [max(0.0, (book.looked_at - each.complete_until).total_seconds() / 60) for each in book.freshness]
        axes.barh(names, behind)
        axes.invert_yaxis()
        # A minute and a week are both of interest.
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xlabel("minutes behind (logarithmic)")

    return _drawn(draw, lines=len(book.freshness))


def proofs(book: Daybook) -> str:
    """Draw a square a day: proven equal, red, or not proven."""

    def draw(axes: Any) -> None:
        from matplotlib.patches import Patch

        days = _days(book.day)
        lines = sorted({(each.shop_id, each.subject) for each in book.proofs}) or [("no proof yet", "")]
        found = {(each.shop_id, each.subject, each.day): each.equal for each in book.proofs}
        for row, (shop_id, subject) in enumerate(lines):
            equal = [found.get((shop_id, subject, day)) for day in days]
            colours = [UNPROVEN if each is None else GOOD if each else BAD for each in equal]
            axes.bar(range(len(days)), [0.8] * len(days), bottom=row - 0.4, color=colours, width=0.9)
        axes.set_yticks(range(len(lines)), [", ".join(filter(None, line)) for line in lines])
        axes.invert_yaxis()
        _label_days(axes, days)
        legend = [Patch(color=colour, label=said) for colour, said in
                  ((GOOD, "equal"), (BAD, "differs"), (UNPROVEN, "not proven"))]  # fmt: skip
        axes.legend(handles=legend, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))

    return _drawn(draw, lines=len({(each.shop_id, each.subject) for each in book.proofs}))


def reserved(book: Daybook) -> str:
    """Pieces that wait to be sent, a bar a SKU."""

    def draw(axes: Any) -> None:
        axes.barh([f"{each.sku} ({each.shop_id})" for each in book.reserved], [each.pieces for each in book.reserved])
        axes.invert_yaxis()
        axes.set_xlabel("pieces")

    return _drawn(draw, lines=len(book.reserved))


def _days(day: date) -> list[date]:
    return [day - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1)]


def _stacked_days(axes: Any, book: Daybook, values: dict[tuple[str, date], float], unit: str) -> None:
    days = _days(book.day)
    base = [0.0] * len(days)
    for shop_id in book.shop_ids:
        heights = [values.get((shop_id, day), 0.0) for day in days]
        axes.bar(range(len(days)), heights, bottom=base, label=shop_id)
        base = [below + height for below, height in zip(base, heights, strict=True)]
    _label_days(axes, days)
    axes.set_ylabel(unit)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if book.shop_ids:
        axes.legend(frameon=False, fontsize="small", ncols=4)


def _label_days(axes: Any, days: list[date]) -> None:
    # A label a week, the day itself among them.
    shown = range((len(days) - 1) % 7, len(days), 7)
    axes.set_xticks(shown, [f"{days[number]:%d %b}" for number in shown])


def _drawn(draw: Callable[[Any], None], lines: int = 0) -> str:
    """Draw into a picture and return it as a data address."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    height = max(HEIGHT_INCHES if not lines else 1.4, 0.9 + lines * INCHES_PER_LINE)
    # Text stays text: the browser has fonts for Chinese names, which matplotlib's own lacks.
    with mpl.rc_context({"svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        draw(figure.subplots())
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode()}"
