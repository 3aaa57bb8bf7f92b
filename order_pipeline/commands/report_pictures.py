"""The pictures of the daily report, as addresses that hold the picture itself.

Belongs here: drawing a daybook. Not here: what stands around the pictures (report.py).
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

from order_pipeline.warehouse.daybook import DAYS_SHOWN, Daybook

WIDTH_INCHES, HEIGHT_INCHES = 9.0, 3.2
# A line a shop; more than this fit no more, and none is left out.
INCHES_PER_LINE = 0.28

SELLABLE, HELD = "#1f77b4", "#f0a35e"
# Minutes, and how people call them.
SPANS = ((0, "0"), (1, "1 minute"), (10, "10 minutes"), (60, "1 hour"), (1440, "1 day"), (10080, "1 week"),
         (43200, "30 days"), (525_600, "1 year"))  # fmt: skip
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
        shown = [(minutes, said) for minutes, said in SPANS if minutes <= max([60.0, *behind])]
        axes.set_xticks([minutes for minutes, _ in shown], [said for _, said in shown])
        axes.minorticks_off()
        axes.set_xlabel("behind the platform")
        _say_if_empty(axes, book.freshness, "nothing loaded yet")

    return _drawn(draw, lines=max(1, len(book.freshness)))


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

    return _drawn(draw, lines=max(1, len({(each.shop_id, each.subject) for each in book.proofs})))


def sold_out(book: Daybook) -> str:
    """SKUs that ran out of stock, by day, a line a shop; a day without a snapshot is a gap."""

    def draw(axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        days = _days(book.day)
        found = {(each.shop_id, each.day): each.sold_out for each in book.stock}
        shop_ids = sorted({each.shop_id for each in book.stock})
        for shop_id in shop_ids:
            # matplotlib leaves out what is not a number.
            numbers = [found.get((shop_id, day), float("nan")) for day in days]
            axes.plot(range(len(days)), numbers, marker="o", markersize=4, label=shop_id)
        axes.set_xlim(-0.5, len(days) - 0.5)
        axes.set_ylim(bottom=0, top=max([1, *(each.sold_out for each in book.stock)]) * 1.15)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _label_days(axes, days)
        axes.set_ylabel("SKUs")
        _name_shops(axes, shop_ids)
        _say_if_empty(axes, book.stock, "no snapshot of stock yet (daily at 06:00)")

    return _drawn(draw)


def scarce(book: Daybook) -> str:
    """Days that the stock of a SKU lasts, a bar a SKU with the pieces that are left; without those that are gone."""

    def draw(axes: Any) -> None:
        names = [f"{each.sku} ({each.shop_id})" for each in book.scarce]
        lasts = [each.days_left for each in book.scarce]
        bars = axes.barh(names, lasts, color=SELLABLE)
        axes.bar_label(bars, [f"{each.sellable:,} left" for each in book.scarce], padding=4, fontsize="small")
        axes.invert_yaxis()
        # Room for what is written after the longest bar.
        axes.set_xlim(0, max(lasts, default=1.0) * 1.15)
        axes.set_xlabel("days of sales")
        _say_if_empty(axes, book.scarce, "nothing that sold last week has known stock")

    return _drawn(draw, lines=max(1, len(book.scarce)))


def claimed(book: Daybook) -> str:
    """Pieces that wait to be sent, and pieces held by deposits, a bar a SKU."""

    def draw(axes: Any) -> None:
        names = [f"{each.sku} ({each.shop_id})" for each in book.claimed]
        reserved = [each.reserved for each in book.claimed]
        axes.barh(names, reserved, color=SELLABLE, label="paid, to be sent")
        axes.barh(names, [each.held for each in book.claimed], left=reserved, color=HELD, label="held by deposits")
        axes.invert_yaxis()
        axes.set_xlabel("pieces")
        if book.claimed:
            axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        _say_if_empty(axes, book.claimed, "nothing waits to be sent")

    return _drawn(draw, lines=max(1, len(book.claimed)))


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
    axes.set_ylim(bottom=0, top=max([1.0, *base]) * 1.1)
    _say_if_empty(axes, [height for height in base if height], "nothing in these days")
    axes.set_ylabel(unit)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _name_shops(axes, book.shop_ids)


def _name_shops(axes: Any, shop_ids: list[str]) -> None:
    # Above the drawing, where it hides nothing of it.
    if shop_ids:
        axes.legend(frameon=False, fontsize="small", ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))


def _say_if_empty(axes: Any, shown: Sequence[object], said: str) -> None:
    if not shown:
        axes.set_yticks([])
        axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", va="center", color="#57606a")


def _label_days(axes: Any, days: list[date]) -> None:
    # A label a week, the day itself among them.
    shown = range((len(days) - 1) % 7, len(days), 7)
    axes.set_xticks(shown, [f"{days[number]:%d %b}" for number in shown])


def _drawn(draw: Callable[[Any], None], lines: int = 0) -> str:
    """Draw into a picture and return it as a data address."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    height = max(HEIGHT_INCHES if not lines else 1.4, 0.9 + lines * INCHES_PER_LINE)
    # Text stays text: the browser has fonts for Chinese names, which matplotlib's own lacks and warns of.
    with (
        warnings.catch_warnings(),
        mpl.rc_context({"svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}),
    ):
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        draw(figure.subplots())
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode()}"
