"""The purchase list of a shop: inputs of one moment in, suggestions with their working out, and people told once.

Belongs here: putting inputs together, what keeps a shop or SKU off the list, storing it. Not here: the rule
(insights/replenishment.py), decisions (warehouse/purchases.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.insights.demand import Problem
from order_pipeline.insights.replenishment import Policy, suggest
from order_pipeline.insights.suppliers import check_suppliers
from order_pipeline.sync.windows import SHANGHAI, day_window
from order_pipeline.warehouse.daily_sales import lock_shop
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.forecasts import FORECAST_COLUMNS, read_forecast
from order_pipeline.warehouse.hook_events import Event, put_events
from order_pipeline.warehouse.notices import Notice, Severity, open_subjects, raise_notice, resolve_notice
from order_pipeline.warehouse.purchases import Decision, accept, reject, shop_of_suggestion
from order_pipeline.warehouse.restocking import (
    SUGGESTION_COLUMNS,
    Snapshot,
    lately_rejected,
    latest_list_day,
    latest_snapshot,
    purchased,
    replace_list,
    replace_problems,
    supplier_rows,
)
from order_pipeline.wording import counted

if TYPE_CHECKING:
    import pandas as pd

NOTICE = "restock_list_ready"
LOCK = "restock"

LINE_HEADINGS = {
    "suggestion_id": "id", "shop_id": "shop", "supplier": "supplier", "sku": "SKU", "quantity": "quantity",
    "reason": "reason", "unit_cost": "unit cost", "daily_demand": "demand a day", "lead_time_days": "lead time (days)",
    "review_days": "review (days)", "service_level": "service level", "lead_time_demand": "lead time demand",
    "safety_stock": "safety stock", "reorder_point": "reorder point", "order_up_to": "order up to",
    "on_hand": "on hand", "on_order": "on order", "reserved": "reserved", "held": "held", "position": "position",
    "net_need": "net need", "moq": "MOQ", "pack_size": "pack", "cover_days_before": "cover before (days)",
    "cover_days_after": "cover after (days)", "overshoots_cover": "overshoots cover", "model": "model",
    "demand_class": "demand class", "own_wape": "own WAPE", "day": "list of",
}  # fmt: skip


class PurchaseList(NamedTuple):
    """A shop's list. ``lines``: with and without a purchase; ``problems``: sku, field and what is wrong.

    ``unfit``: why there is no list of the shop, and what to do; the list of before stays then.
    """

    shop_id: str
    day: date
    lines: int
    to_buy: int
    pieces: int
    problems: tuple[tuple[str, str, str], ...]
    unfit: str | None = None


def make_purchase_list(engine: Engine, shop_id: str, day: date, policy: Policy) -> PurchaseList:
    """Work the shop's list of a day out anew, from what is known now, and store it. Doing it twice changes nothing.

    Raises DatabaseUnreachableError.
    """
    return in_transaction(engine, partial(_make, shop_id=shop_id, day=day, policy=policy))


def _make(connection: Connection, *, shop_id: str, day: date, policy: Policy) -> PurchaseList:
    import pandas as pd

    # With whoever accepts a suggestion at this moment: what is accepted must be on order in the list after it.
    lock_shop(connection, shop_id, LOCK)

    def unfit(why: str) -> PurchaseList:
        problems = ((f"shop {shop_id}", "list", why),)
        replace_problems(connection, shop_id, day, problems)
        return PurchaseList(shop_id, day, 0, 0, 0, problems, why)

    held = latest_list_day(connection, shop_id)
    if held is not None and held > day:
        return PurchaseList(shop_id, day, 0, 0, 0, (), f"the list of {held} is later and stays")
    snapshot = latest_snapshot(connection, shop_id, day, day)
    if snapshot is None:
        return unfit(f"the stock of shop {shop_id} on {day} is not known; materialize inventory_levels of {day}")
    said = pd.DataFrame(read_forecast(connection, shop_id, day), columns=list(FORECAST_COLUMNS))
    if said.empty:
        return unfit(f"shop {shop_id} has no forecast of {day}; materialize demand_forecast of {day}")
    stock, problems = _stock(snapshot)
    suppliers, terms, wrong_terms = _suppliers(connection, shop_id, day, policy)
    restock = suggest(said, stock, suppliers, policy)
    problems += wrong_terms
    named = {(sku, field) for sku, field, _ in problems}
    problems += [
        (str(each.row), each.column, each.message)
        for each in restock.problems
        if (str(each.row), each.column) not in named
    ]
    lines = _with_rejections(connection, shop_id, day, policy, restock.suggestions)
    lines["supplier"] = lines["sku"].map(lambda sku: terms[sku]["supplier"])
    lines["unit_cost"] = lines["sku"].map(lambda sku: terms[sku]["unit_cost"])
    replace_list(connection, shop_id, day, _plain_rows(lines))
    replace_problems(connection, shop_id, day, problems)
    buys = lines[lines["quantity"] > 0]
    made = PurchaseList(shop_id, day, len(lines), len(buys), int(buys["quantity"].sum()), tuple(problems))
    _tell(connection, made)
    return made


def _stock(snapshot: Snapshot) -> tuple[pd.DataFrame, list[tuple[str, str, str]]]:
    """Return the stock of SKUs that is known, and what is said of the others."""
    import pandas as pd

    unknown = [row for row in snapshot.rows if row["sku"] and row["on_hand"] is None]
    problems = [
        (row["sku"], "on_hand", f"{row['problem'] or 'the platform did not say it'}: no suggestion") for row in unknown
    ]
    known = [row for row in snapshot.rows if row["sku"] and row["on_hand"] is not None]
    return pd.DataFrame(known, columns=["sku", "on_hand", "reserved", "held"]), problems


def _suppliers(
    connection: Connection, shop_id: str, day: date, policy: Policy
) -> tuple[pd.DataFrame, dict[str, Mapping[str, Any]], list[tuple[str, str, str]]]:
    """Return the usable terms with everything that is on order, all terms by SKU, and what is wrong."""
    import pandas as pd

    terms = {row["sku"]: row for row in supplier_rows(connection, shop_id) if row["sku"]}
    ours = purchased(connection, shop_id)
    problems: list[tuple[str, str, str]] = []
    rows = []
    for sku, row in terms.items():
        listed = row["on_order"] or 0
        if listed and row["is_of_all_shops"] and row["shops_selling"] > 1:
            problems.append(
                (sku, "on_order", f"{listed} on order are of {row['shops_selling']} shops: name the shop in the list")
            )
            continue
        due, lead = row["on_order_due"], row["lead_time_days"]
        if listed and due and lead is not None and due > day + timedelta(days=float(lead) + policy.review_days):
            problems.append((sku, "on_order", f"{listed} are due on {due}, after lead time and review: not counted"))
            listed = 0
        rows.append(
            {
                "sku": sku,
                "lead_time_days": lead,
                "lead_time_sd_days": row["lead_time_sd_days"],
                "moq": row["moq"],
                "pack_size": row["pack_size"],
                "on_order": listed + ours.get(sku, 0),
            }
        )
    frame = pd.DataFrame(
        rows, columns=["sku", "lead_time_days", "lead_time_sd_days", "moq", "pack_size", "on_order"], dtype=object
    ).set_index("sku", drop=False)
    usable, wrong = check_suppliers(frame.rename_axis(None))
    return usable, terms, problems + [_of_terms(each) for each in wrong]


def _of_terms(problem: Problem) -> tuple[str, str, str]:
    return str(problem.row), problem.column, f"{problem.message}, in the list of suppliers"


def _with_rejections(
    connection: Connection, shop_id: str, day: date, policy: Policy, lines: pd.DataFrame
) -> pd.DataFrame:
    """Leave out for a review period what was turned down: the next list would only say the same."""
    since = day_window(day).end - timedelta(days=policy.review_days)
    rejected = lately_rejected(connection, shop_id, since)
    again = timedelta(days=policy.review_days)
    for place in lines.index[lines["sku"].isin(rejected) & (lines["quantity"] > 0)]:
        at = rejected[str(lines.at[place, "sku"])].astimezone(SHANGHAI).date()
        lines.loc[place, "quantity"] = 0
        lines.loc[place, "reason"] = f"rejected on {at}; suggested again from {at + again}"
    return lines


def _plain_rows(lines: pd.DataFrame) -> list[list[Any]]:
    """Return plain Python values in the order of SUGGESTION_COLUMNS; None: without demand cover has no end."""
    import numpy as np

    wanted = lines[list(SUGGESTION_COLUMNS)].replace([np.inf, -np.inf], np.nan)
    return wanted.astype(object).where(wanted.notna(), None).to_numpy().tolist()


def _tell(connection: Connection, made: PurchaseList) -> None:
    """Tell people and systems that a list is ready: once a day, and only of a list that buys something."""
    subject = f"{made.shop_id} {made.day}"
    for earlier in open_subjects(connection, NOTICE):
        if earlier.rpartition(" ")[0] == made.shop_id and earlier != subject:
            resolve_notice(connection, NOTICE, earlier)
    if not made.to_buy:
        return
    raise_notice(
        connection,
        Notice(
            NOTICE,
            subject,
            Severity.INFO,
            f"the purchase list of shop {made.shop_id} for {made.day} is ready",
            f"What happened: {counted(made.to_buy, 'SKU')} should be bought, {counted(made.pieces, 'piece')}; "
            f"{counted(len(made.problems), 'row of the inputs needs', 'rows of the inputs need')} "
            f"a look. What it means: stock may run out before the next delivery. What to do: "
            f"order-pipeline restock list, then accept or reject.",
            quiet=None,
        ),
    )
    payload = {"shop": made.shop_id, "day": made.day.isoformat(), "skus": made.to_buy, "pieces": made.pieces}
    put_events(connection, [Event("restock_list_ready", f"restock_list_ready/{subject}", payload)])


def accept_suggestions(
    engine: Engine, suggestion_ids: Sequence[int], actor: str, quantity: int | None = None
) -> list[Decision]:
    """Put suggestions on order, all or none; the merchant's own systems are told. Accepting twice is accepting once.

    Raises UnknownLineError, DatabaseUnreachableError.
    """

    def work(connection: Connection) -> list[Decision]:
        shops = sorted({shop_of_suggestion(connection, number) for number in suggestion_ids})
        for shop_id in shops:
            lock_shop(connection, shop_id, LOCK)
        made = [accept(connection, number, actor, quantity) for number in suggestion_ids]
        put_events(
            connection,
            [
                Event(
                    "purchase_accepted",
                    f"purchase_accepted/{each.purchase_id}",
                    {"shop": each.shop_id, "sku": each.sku, "quantity": each.quantity, "purchase": each.purchase_id},
                )
                for each in made
            ],
        )
        return made

    return in_transaction(engine, work)


def reject_suggestions(engine: Engine, suggestion_ids: Sequence[int], actor: str, why: str) -> list[Decision]:
    """Turn suggestions down, all or none. Raises UnknownLineError, DatabaseUnreachableError."""
    return in_transaction(
        engine, lambda connection: [reject(connection, number, actor, why) for number in suggestion_ids]
    )
