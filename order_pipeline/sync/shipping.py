"""The ship list of a shop: what may leave now goes to the warehouse once; what must not leave any more is stopped once.

Belongs here: putting inputs together, storing, telling people and systems in the same transaction. Not here: the rule
(insights/shipping.py), tables (warehouse/ship_lists.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.insights.shipping import Line, Listed, Pick, picks, plan, stop_reason
from order_pipeline.sync.windows import SHANGHAI
from order_pipeline.warehouse.daily_sales import bundles, lock_shop
from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.hook_events import Event, put_events
from order_pipeline.warehouse.notices import Notice, Severity, open_subjects, raise_notice, resolve_notice
from order_pipeline.warehouse.purchases import UnknownLineError
from order_pipeline.warehouse.restocking import latest_snapshot
from order_pipeline.warehouse.ship_lists import (
    add_list,
    ended_stops,
    listed_lines,
    mark_shipped,
    mark_stopped,
    open_keys,
    replace_held,
    shipped_since,
    shops_of_stopped,
    stopped_lines,
    waiting_lines,
)

STOP_NOTICE = "stop_shipment"
LOCK = "ship_list"
# Before the day's snapshot is taken yesterday's counts, less what left since; older stock is a guess.
OLDEST_SNAPSHOT_DAYS = 1
NO_SNAPSHOT = "the shop's stock is not known"
# A listed parcel leaves within 48 hours (the platform's promise); after that its stop is no news for anybody.
STOP_IS_OPEN = timedelta(hours=48)
# An event of the hook holds so many lines; a list of a big sale comes in several.
LINES_AN_EVENT = 500

LINE_HEADINGS = {
    "shop_id": "shop", "list_id": "list", "warehouse": "warehouse", "sku": "SKU", "title": "title",
    "sku_properties": "properties", "quantity": "quantity", "order_id": "order", "item_id": "line",
    "ship_by": "ship by (Asia/Shanghai)", "listed_at": "listed at (Asia/Shanghai)",
}  # fmt: skip
HELD_HEADINGS = {
    "shop_id": "shop", "order_id": "order", "item_id": "line", "sku": "SKU", "quantity": "quantity",
    "reason": "reason", "remedy": "remedy", "ship_by": "ship by (Asia/Shanghai)", "since": "since (Asia/Shanghai)",
}  # fmt: skip
STOP_HEADINGS = {
    "line_id": "stopped line", "shop_id": "shop", "list_id": "list", "warehouse": "warehouse", "order_id": "order",
    "item_id": "line", "sku": "SKU", "quantity": "quantity", "reason": "reason",
    "stopped_at": "stopped at (Asia/Shanghai)",
}  # fmt: skip


class Stopped(NamedTuple):
    """A listed line that must not leave."""

    order_id: str
    item_id: str
    sku: str
    quantity: int
    reason: str


class ShipList(NamedTuple):
    """What a look at a shop did. ``list_id`` None: nothing new may leave. ``unfit``: why nothing could be decided."""

    shop_id: str
    list_id: int | None
    orders: int
    lines: int
    pieces: int
    picks: tuple[Pick, ...]
    held: int
    stopped: tuple[Stopped, ...]
    left: int
    unfit: str | None = None


def make_ship_list(engine: Engine, shop_id: str, day: date) -> ShipList:
    """Stop what must not leave, then list what may leave and is on no list yet.

    Each line is on one list once, however often this runs, and again only after it was stopped.
    Raises DatabaseUnreachableError.
    """

    def work(connection: Connection) -> ShipList:
        made = _make(connection, shop_id=shop_id, day=day)
        _end_stops(connection, shop_id)
        return made

    return in_transaction(engine, work)


def stop_shipments(engine: Engine, shop_id: str) -> tuple[Stopped, ...]:
    """Stop listed lines that must not leave any more; people and systems are told of each once.

    Raises DatabaseUnreachableError.
    """

    def work(connection: Connection) -> tuple[Stopped, ...]:
        lock_shop(connection, shop_id, LOCK)
        stopped, _ = _follow(connection, shop_id)
        _end_stops(connection, shop_id)
        return stopped

    return in_transaction(engine, work)


def due_stops(engine: Engine, shop_id: str) -> int:
    """Return how many listed lines must be stopped; changes nothing."""
    with transaction(engine) as connection:
        return sum(1 for row in listed_lines(connection, shop_id) if _judge(row)[1])


def _make(connection: Connection, *, shop_id: str, day: date) -> ShipList:
    lock_shop(connection, shop_id, LOCK)
    stopped, left = _follow(connection, shop_id)
    listed = open_keys(connection, shop_id)
    parts = _parts(connection, shop_id)
    rows = waiting_lines(connection, shop_id)
    lines = {(row["order_id"], row["item_id"]): _line(row, parts) for row in rows}
    by_key = {(row["order_id"], row["item_id"]): row for row in rows}
    snapshot = latest_snapshot(connection, shop_id, day - timedelta(days=OLDEST_SNAPSHOT_DAYS), day)
    if snapshot is None:
        held = [
            (*line.key, line.sku or "", line.quantity, NO_SNAPSHOT, f"materialize inventory_levels of {day}",
             line.ship_by)
            for line in lines.values() if line.key not in listed
        ]  # fmt: skip
        replace_held(connection, shop_id, held)
        why = f"the stock of shop {shop_id} on {day} is not known; materialize inventory_levels of {day}"
        return ShipList(shop_id, None, 0, 0, 0, (), len(held), stopped, left, why)
    decided = plan(lines.values(), _stock(connection, shop_id, snapshot.day, snapshot.rows, parts), listed)
    replace_held(
        connection,
        shop_id,
        [
            (*each.line.key, each.line.sku or "", each.line.quantity, each.reason, each.remedy, each.line.ship_by)
            for each in decided.held
        ],
    )
    if not decided.ship:
        return ShipList(shop_id, None, 0, 0, 0, (), len(decided.held), stopped, left)
    found = [by_key[line.key] for line in decided.ship]
    orders = len({line.order_id for line in decided.ship})
    pieces = sum(line.quantity for line in decided.ship)
    list_id = add_list(
        connection,
        shop_id,
        day,
        orders,
        [
            (line.order_id, line.item_id, row["warehouse"], line.sku, row["num_iid"], row["sku_id"], row["title"],
             row["sku_properties"], line.quantity, line.ship_by)
            for line, row in zip(decided.ship, found, strict=True)
        ],
    )  # fmt: skip
    grouped = picks((row["warehouse"], line) for line, row in zip(decided.ship, found, strict=True))
    _hand_over(connection, shop_id, list_id, decided.ship, found)
    return ShipList(
        shop_id, list_id, orders, len(decided.ship), pieces, tuple(grouped), len(decided.held), stopped, left
    )


def _follow(connection: Connection, shop_id: str) -> tuple[tuple[Stopped, ...], int]:
    """Note which listed lines left, and stop those that must not."""
    left: list[int] = []
    stopped: list[Stopped] = []
    for row in listed_lines(connection, shop_id):
        has_left, reason = _judge(row)
        if has_left:
            left.append(row["line_id"])
        elif reason and mark_stopped(connection, row["line_id"], reason):
            found = Stopped(row["order_id"], row["item_id"], row["listed_sku"], row["listed_quantity"], reason)
            stopped.append(found)
            _tell(connection, shop_id, row["line_id"], row["list_id"], found)
    mark_shipped(connection, left)
    return tuple(stopped), len(left)


def acknowledge_stops(engine: Engine, line_ids: Sequence[int]) -> list[tuple[int, bool]]:
    """End the stop notices of listed lines, as their parcels were taken out; return each line and whether it was open.

    Raises UnknownLineError for a line that never was stopped, and then changes nothing; DatabaseUnreachableError.
    """

    def work(connection: Connection) -> list[tuple[int, bool]]:
        shops = shops_of_stopped(connection, line_ids)
        unknown = [line_id for line_id in line_ids if line_id not in shops]
        if unknown:
            raise UnknownLineError(
                f"line {unknown[0]} was not stopped; order-pipeline ship-list --stops shows those that were"
            )
        return [
            (line_id, resolve_notice(connection, STOP_NOTICE, _subject(shops[line_id], line_id)))
            for line_id in line_ids
        ]

    return in_transaction(engine, work)


def open_stops(connection: Connection, shop_ids: Sequence[str] | None) -> list[Mapping[str, Any]]:
    """Return stopped lines of which nobody has said yet that their parcel was taken out, oldest first."""
    open_ids = [int(subject.rpartition(" ")[2]) for subject in open_subjects(connection, STOP_NOTICE)]
    return stopped_lines(connection, open_ids, shop_ids)


def _end_stops(connection: Connection, shop_id: str) -> None:
    """End the notices of lines that were listed again, have left all the same, or were stopped long ago."""
    open_ids = [
        int(line_id)
        for its_shop, _, line_id in (each.rpartition(" ") for each in open_subjects(connection, STOP_NOTICE))
        if its_shop == shop_id
    ]
    for line_id in ended_stops(connection, open_ids, STOP_IS_OPEN):
        resolve_notice(connection, STOP_NOTICE, _subject(shop_id, line_id))


def _subject(shop_id: str, line_id: int) -> str:
    # The line on this list: stopped once, so said once.
    return f"{shop_id} {line_id}"


def _judge(row: Mapping[str, Any]) -> tuple[bool, str | None]:
    now = _line(row["now"], {}) if row["now"] else None
    listed = Listed(row["order_id"], row["item_id"], row["listed_sku"], row["listed_quantity"])
    return now is not None and now.is_shipped, stop_reason(listed, now)


def _tell(connection: Connection, shop_id: str, line_id: int, list_id: int, stopped: Stopped) -> None:
    raise_notice(
        connection,
        Notice(
            STOP_NOTICE,
            _subject(shop_id, line_id),
            Severity.WARNING,
            f"do not send order {stopped.order_id} of shop {shop_id}: {stopped.reason}",
            f"What happened: line {stopped.item_id} ({stopped.quantity} of {stopped.sku}) is on ship list {list_id}, "
            f"and {stopped.reason}. What it means: sent, it would have to come back. What to do: take the parcel out, "
            f"then order-pipeline ship-list --taken-out {line_id}.",
            quiet=None,
        ),
    )
    payload = {"shop": shop_id, "list": list_id, **stopped._asdict()}
    put_events(connection, [Event("shipment_stopped", f"shipment_stopped/{shop_id}/{line_id}", payload)])


def _hand_over(
    connection: Connection, shop_id: str, list_id: int, lines: tuple[Line, ...], rows: list[Mapping[str, Any]]
) -> None:
    said = [
        {
            "order_id": line.order_id, "item_id": line.item_id, "warehouse": row["warehouse"], "sku": line.sku,
            "quantity": line.quantity, "ship_by": line.ship_by.astimezone(SHANGHAI).isoformat(),
        }
        for line, row in zip(lines, rows, strict=True)
    ]  # fmt: skip
    parts = [said[start : start + LINES_AN_EVENT] for start in range(0, len(said), LINES_AN_EVENT)]
    put_events(
        connection,
        [
            Event(
                "ship_list",
                f"ship_list/{list_id}/{number}",
                {"shop": shop_id, "list": list_id, "part": number, "parts": len(parts), "lines": part},
            )
            for number, part in enumerate(parts, 1)
        ],
    )


def _parts(connection: Connection, shop_id: str) -> dict[str, tuple[tuple[str, int], ...]]:
    found: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in bundles(connection, shop_id):
        if row["bundle_sku"] and row["component_sku"]:
            found[row["bundle_sku"]].append((row["component_sku"], int(row["units"])))
    return {sku: tuple(parts) for sku, parts in found.items()}


def _line(row: Mapping[str, Any], parts: Mapping[str, tuple[tuple[str, int], ...]]) -> Line:
    sku, quantity = row["sku"], row["quantity"]
    of_one = parts.get(sku) or (((sku, 1),) if sku else ())
    return Line(
        order_id=row["order_id"],
        item_id=row["item_id"],
        sku=sku,
        parts=tuple((part, pieces * quantity) for part, pieces in of_one),
        quantity=quantity,
        status=row["status"],
        order_status=row["order_status"],
        paid_at=_moment(row["paid_at"]),
        promised_at=_moment(row["promised_ship_at"]) if row["promised_ship_at"] else None,
        step_status=row["step_status"],
        holds=tuple(row["holds"]),
        has_open_refund=row["has_open_refund"],
        is_shipped=row["is_shipped"],
    )


def _moment(value: datetime | str) -> datetime:
    """Return a moment of a row; inside JSON it is text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _stock(
    connection: Connection,
    shop_id: str,
    day: date,
    rows: list[Mapping[str, Any]],
    parts: Mapping[str, tuple[tuple[str, int], ...]],
) -> dict[str, int | None]:
    """Return what is physically there: the snapshot, less what left since."""
    gone: defaultdict[str, int] = defaultdict(int)
    for sku, pieces in shipped_since(connection, shop_id, day).items():
        for part, number in parts.get(sku) or ((sku, 1),):
            gone[part] += pieces * number
    return {
        row["sku"]: None if row["on_hand"] is None else max(row["on_hand"] - gone[row["sku"]], 0)
        for row in rows
        if row["sku"]
    }
