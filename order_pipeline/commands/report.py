"""order-pipeline report: one day as a page that any browser opens, with everything in it.

Belongs here: the page. Not here: its pictures (report_pictures.py), its numbers (warehouse/daybook.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from html import escape

from sqlalchemy import Engine

from order_pipeline.commands import report_pictures
from order_pipeline.sync.windows import SHANGHAI, day_window
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.daybook import DAYS_SHOWN, SKUS_SHOWN, WEEK, Daybook, Freshness, read_daybook

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; border-bottom: 1px solid #8885 }
p.when { margin-top: 0; opacity: .7 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #8883 }
th:first-child, td:first-child { text-align: left }
figure { margin: 1rem 0 } figcaption { font-size: .9em; opacity: .7 }
img { width: 100%; background: #fff; border-radius: 4px }
.good { color: #1a7f37 } .bad { color: #cf222e; font-weight: 600 } .open { opacity: .7 }
"""


def daily_report(engine: Engine, day: date) -> str:
    """Return the report of a day (Asia/Shanghai) as HTML; it needs no other file and no network."""
    window = day_window(day)
    with transaction(engine) as connection:
        book = read_daybook(connection, day, window.start, window.end)
    return page(book)


def page(book: Daybook) -> str:
    """Return the HTML of a daybook. Pure."""
    shown = book.looked_at.astimezone(SHANGHAI)
    sections = [
        f"<h2>Sales</h2>{_totals(book)}"
        + _picture(report_pictures.sales(book), f"Payments by day of payment, {DAYS_SHOWN} days, by shop")
        + _picture(report_pictures.hours(book), "Paid orders by hour, this day and the average of the week before"),
        "<h2>Refunds</h2>"
        + _picture(report_pictures.refunds(book), f"Money that went back, {DAYS_SHOWN} days, by shop"),
        f"<h2>Freshness</h2>{_freshness(book)}"
        + _picture(report_pictures.freshness(book), "How far behind the platform each shop is"),
        f"<h2>Reconciliation</h2>{_red_days(book)}"
        + _picture(report_pictures.proofs(book), f"Which of {DAYS_SHOWN} days are proven equal to the platform"),
        f"<h2>Stock</h2>{_stock(book)}"
        + _picture(report_pictures.sold_out(book), f"SKUs on sale that ran out of stock, {DAYS_SHOWN} days, by shop")
        + _picture(
            report_pictures.scarce(book),
            f"The {SKUS_SHOWN} SKUs that run out first if they sell on as in the last {WEEK} days",
        )
        + _picture(
            report_pictures.claimed(book),
            f"Pieces that orders speak for now, the {SKUS_SHOWN} SKUs with the most",
        ),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Shops on {book.day}</title><style>{_STYLE}</style></head>\n<body>\n<h1>Shops on {book.day:%A, %F}</h1>"
        f'<p class="when">As the warehouse had it on {shown:%F %T} (Asia/Shanghai). Money in yuan.</p>\n'
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def _totals(book: Daybook) -> str:
    week_ago = book.day - timedelta(days=7)
    sold = {(each.shop_id, each.day): each for each in book.sales}
    back = {(each.shop_id, each.day): each for each in book.refunds}
    rows = []
    for shop_id in book.shop_ids:
        today, before = sold.get((shop_id, book.day)), sold.get((shop_id, week_ago))
        refunded = back.get((shop_id, book.day))
        rows.append(
            [
                escape(shop_id),
                f"{today.orders:,}" if today else "0",
                f"{today.quantity:,}" if today else "0",
                f"{today.payment:,.2f}" if today else "0.00",
                _change(today.payment if today else Decimal(0), before.payment if before else Decimal(0)),
                f"{refunded.refunds:,}" if refunded else "0",
                f"{refunded.money:,.2f}" if refunded else "0.00",
            ]
        )
    heads = ("shop", "paid orders", "pieces", "payment", "against the week before", "refunds", "money back")
    return _table(heads, rows) if rows else "<p>No shop has been loaded yet.</p>"


def _change(now: Decimal, before: Decimal) -> str:
    return f"{(now - before) / before:+.0%}" if before else "–"


def _freshness(book: Daybook) -> str:
    end = day_window(book.day).end
    rows = [
        [
            f"{escape(each.shop_id)}, {each.subject}",
            f"{each.complete_until.astimezone(SHANGHAI):%F %T}",
            f"{each.details_waiting:,}",
            _completeness(each, end),
        ]
        for each in book.freshness
    ]
    return _table(("shop", "complete until", "details waiting", "this day"), rows) if rows else "<p>Nothing yet.</p>"


def _completeness(each: Freshness, end: datetime) -> str:
    if each.complete_until < end:
        return '<span class="bad">not complete yet</span>'
    if each.details_waiting:
        return '<span class="open">complete, some details wait</span>'
    return '<span class="good">complete</span>'


def _red_days(book: Daybook) -> str:
    red = [each for each in book.proofs if not each.equal]
    proven = {(each.shop_id, each.subject) for each in book.proofs if each.day == book.day}
    said = [
        f'<li class="bad">{escape(each.shop_id)}, {each.subject} of {each.day}: {each.unsettled:,} of '
        f"{each.expected:,} differ</li>"
        for each in red
    ]
    said += [
        f'<li class="open">{escape(shop_id)}: this day is not proven yet (02:00 of the next day)</li>'
        for shop_id in book.shop_ids
        if (shop_id, "orders") not in proven
    ]
    return f"<ul>{''.join(said)}</ul>" if said else '<p class="good">Every proven day equals the platform.</p>'


def _stock(book: Daybook) -> str:
    of_day = {each.shop_id: each for each in book.stock if each.day == book.day}
    rows = [
        [escape(each.shop_id)]
        + [
            f"{number:,}"
            for number in (each.skus, each.sold_out, each.unknown, each.sellable, each.reserved, each.held)
        ]
        for each in of_day.values()
    ]
    heads = ("shop", "SKUs on sale", "ran out", "unknown", "sellable pieces", "paid, to be sent", "held by deposits")
    without = [escape(shop_id) for shop_id in book.shop_ids if shop_id not in of_day]
    said = f'<p class="open">No snapshot of this day&#8217;s stock: {", ".join(without)}.</p>' if without else ""
    missed = [f"{escape(each.sku)} ({escape(each.shop_id)}) {each.sold_a_day:,.1f}" for each in book.missed]
    if missed:
        said += (
            f'<p><span class="bad">Nothing left</span> of what sold last week, pieces a day: {", ".join(missed)}.</p>'
        )
    return (_table(heads, rows) if rows else "") + said


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _picture(image: str, said: str) -> str:
    return f'<figure><img alt="{escape(said)}" src="{image}"><figcaption>{escape(said)}</figcaption></figure>'
