"""Demand, purchase list and ship list over rows that tests lay down: late changes, bad input, decisions, files."""

from __future__ import annotations

import csv
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from sqlalchemy import Engine, text

from order_pipeline.insights.replenishment import Policy
from order_pipeline.sync.demand import count_demand
from order_pipeline.sync.downloads import write_csv, write_xlsx
from order_pipeline.sync.forecasting import UnfitError, make_forecast
from order_pipeline.sync.pruning import prune
from order_pipeline.sync.restocking import accept_suggestions, make_purchase_list, reject_suggestions
from order_pipeline.sync.shipping import due_stops, make_ship_list, open_stops, stop_shipments
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.forecasts import replace_forecast
from order_pipeline.warehouse.merging import Source
from order_pipeline.warehouse.orders import ITEM_COLUMNS, ORDER_COLUMNS, OrderRow, merge_orders
from order_pipeline.warehouse.purchases import UnknownLineError, cancel, receive
from order_pipeline.warehouse.refunds import merge_refunds
from order_pipeline_tests.warehouse.keeping import EVERYTHING_GOES
from order_pipeline_tests.warehouse.test_refunds import refund_row

SHOP = "shop"
TODAY = date(2026, 3, 15)
NOW = datetime(2026, 3, 15, 2, tzinfo=UTC)
POLICY = Policy()


def order(
    number: int,
    *,
    sku: str | None = "tea",
    quantity: int = 1,
    status: str = "WAIT_SELLER_SEND_GOODS",
    days_ago: int = 1,
    version: int = 0,
    extra: dict[str, Any] | None = None,
    item_extra: dict[str, Any] | None = None,
    **fields: Any,
) -> OrderRow:
    paid = NOW - timedelta(days=days_ago)
    shipped = paid + timedelta(hours=9) if status == "TRADE_FINISHED" else None
    values = dict.fromkeys(ORDER_COLUMNS) | {
        "order_id": str(number), "status": status, "type": "fixed", "created_at": paid, "paid_at": paid,
        "shipped_at": shipped, "modified_at": paid + timedelta(minutes=version), "payment": Decimal(10 * quantity),
        "extra": extra or {},
    }  # fmt: skip
    item = dict.fromkeys(ITEM_COLUMNS) | {
        "item_id": str(number), "quantity": quantity, "num_iid": None if sku is None else f"7{number}", "sku_code": sku,
        "status": status, "payment": Decimal(10 * quantity), "shipped_at": shipped, "extra": item_extra or {},
    }  # fmt: skip
    if sku is None:
        item["num_iid"] = None
    return OrderRow(
        [(values | fields)[column] for column in ORDER_COLUMNS],
        [[item[column] for column in ITEM_COLUMNS]],
        paid + timedelta(minutes=version, seconds=1),
    )


def store(engine: Engine, *orders: OrderRow) -> None:
    with transaction(engine) as connection:
        assert not merge_orders(connection, SHOP, "taobao", Source.DETAIL, orders)


def execute(engine: Engine, statement: str, **values: object) -> list[Any]:
    with transaction(engine) as connection:
        found = connection.execute(text(statement), values)
        return list(found) if found.returns_rows else []


def stock(engine: Engine, sku: str, quantity: int | None, *, day: date = TODAY, **columns: Any) -> None:
    values = {"reserved": 0, "held": 0, "withheld": 0, "problem": None, "was_out_of_stock": False} | columns
    execute(
        engine,
        """
        INSERT INTO core.inventory_level (shop_id, day, num_iid, sku_id, sku_code, platform_quantity, reserved, held,
            reserved_in_bundles, held_in_bundles, withheld, sellable, was_out_of_stock, problem, seen_at)
        VALUES (:shop, :day, :sku, '', :sku, :quantity, :reserved, :held, 0, 0, :withheld, NULL, :was_out_of_stock,
            :problem, :seen_at)
        ON CONFLICT (shop_id, day, num_iid, sku_id) DO UPDATE SET platform_quantity = excluded.platform_quantity
        """,
        shop=SHOP,
        day=day,
        sku=sku,
        quantity=quantity,
        seen_at=NOW,
        **values,
    )


def supplier(engine: Engine, sku: str, lead_time_days: int | None = 10, **columns: Any) -> None:
    values = {"shop_id": SHOP, "on_order": None, "on_order_due": None} | columns
    execute(
        engine,
        """
        INSERT INTO core.supplier_item (shop_id, sku_code, supplier, lead_time_days, moq, pack_size, on_order,
                                        on_order_due)
        VALUES (:shop_id, :sku, 'Tea House', :lead, 10, 5, :on_order, :on_order_due)
        """,
        sku=sku,
        lead=lead_time_days,
        **values,
    )


def forecast_of(engine: Engine, **weekly: float) -> None:
    with transaction(engine) as connection:
        replace_forecast(
            connection,
            SHOP,
            TODAY,
            [(sku, "trees", "smooth", mean, mean, 1.5, round(mean), round(mean * 1.5), 0.4, 0.0)
             for sku, mean in weekly.items()],
        )  # fmt: skip


def begin(engine: Engine, known_until: datetime) -> None:
    """Let all changes up to a moment be known."""
    execute(
        engine,
        "INSERT INTO sync.watermark (shop_id, channel, began_at, position) VALUES (:shop, 'increments', :at, :at)",
        shop=SHOP,
        at=known_until,
    )


def sales(engine: Engine) -> dict[tuple[str, date], int]:
    return {
        (row.sku, row.day): row.quantity
        for row in execute(engine, "SELECT sku, day, quantity FROM bi.daily_sku_sales WHERE quantity > 0")
    }


def test_a_count_follows_orders_that_changed_late_and_takes_only_their_days(engine: Engine) -> None:
    old, yesterday = TODAY - timedelta(days=9), TODAY - timedelta(days=1)
    store(engine, order(1, days_ago=9, quantity=3), order(2), order(3, sku=None), order(4, payment=None))
    first = count_demand(engine, SHOP, [TODAY])
    assert sales(engine) == {("tea", old): 3, ("tea", yesterday): 2}
    assert [each["where"] for each in first.problems] == ["order 3"]
    assert first.left_out["unusable"] == 1
    # Nothing is new: nothing but the day of the run is counted, however often.
    execute(engine, "UPDATE core.orders SET stored_at = now() - interval '1 hour'")
    assert count_demand(engine, SHOP, [TODAY]).days == (yesterday, TODAY)
    # Nine days later an order turns out to be closed before it was sent; another gives a piece back.
    store(engine, order(1, days_ago=9, quantity=3, version=5, status="TRADE_CLOSED"))
    with transaction(engine) as connection:
        refund = refund_row(
            "r", minute=9, order_id="2", item_id="2", status="SUCCESS", refund_fee=Decimal(10), quantity=1,
            good_status="BUYER_NOT_RECEIVED",
        )  # fmt: skip
        merge_refunds(connection, SHOP, "taobao", Source.DETAIL, [refund])
    assert set(count_demand(engine, SHOP, [TODAY]).days) == {old, yesterday, TODAY}
    assert sales(engine) == {("tea", yesterday): 1}


def test_deposits_gifts_and_flagged_orders_are_no_demand_and_cash_on_delivery_is_when_it_is_ordered(
    engine: Engine,
) -> None:
    from order_pipeline.insights.demand import DemandRules

    step: dict[str, Any] = {"type": "step", "step_status": "FRONT_PAID_FINAL_NOPAID"}
    gift = order(5, sku="sample")
    gift.items[0][ITEM_COLUMNS.index("payment")] = Decimal(0)  # type: ignore[index]
    store(
        engine,
        order(1, sku="deposit", **step),
        order(2, sku="final", type="step", step_status="FRONT_PAID_FINAL_PAID"),
        order(3, sku="flagged", seller_flag=4),
        order(4, sku="cod", type="cod", paid_at=None),
        gift,
        order(6, sku="set", item_extra={"combine_item_info": {}}),
    )
    execute(engine, "INSERT INTO core.bundle_part VALUES ('set', 'tea', 2), ('set', 'cup', 1)")
    stock(engine, "gone", 0, day=TODAY - timedelta(days=1), was_out_of_stock=True)
    count_demand(engine, SHOP, [TODAY], rules=DemandRules(seller_flags=frozenset({4})))
    yesterday = TODAY - timedelta(days=1)
    assert sales(engine) == {(sku, yesterday): 2 if sku == "tea" else 1 for sku in ("final", "cod", "tea", "cup")}
    assert execute(engine, "SELECT sku FROM bi.daily_sku_sales WHERE NOT in_stock") == [("gone",)]


def test_no_forecast_is_made_of_sales_that_are_not_all_known(engine: Engine) -> None:
    with pytest.raises(UnfitError, match="nothing was loaded yet"):
        make_forecast(engine, SHOP, TODAY)
    begin(engine, NOW - timedelta(hours=11))
    with pytest.raises(UnfitError, match="known up to 2026-03-14 23:00"):
        make_forecast(engine, SHOP, TODAY)
    execute(engine, "UPDATE sync.watermark SET position = :at", at=NOW)
    store(engine, order(1, days_ago=5))
    count_demand(engine, SHOP, [TODAY])
    with pytest.raises(UnfitError, match="has 5 days of sales"):
        make_forecast(engine, SHOP, TODAY)


def test_old_forecasts_are_kept_by_the_week_and_then_not_at_all(engine: Engine) -> None:
    forecast_of(engine, tea=1)
    execute(
        engine,
        """
        INSERT INTO core.demand_forecast (shop_id, day, sku, model, demand_class, mean, variance, growth, q50, q90)
        SELECT shop_id, day - age, sku, model, demand_class, mean, variance, growth, q50, q90
        FROM core.demand_forecast, generate_series(1, 419) AS age
        """,
    )
    begin(engine, NOW)
    would = prune(engine, EVERYTHING_GOES, NOW, dry_run=True).gone
    gone = prune(engine, EVERYTHING_GOES, NOW).gone
    assert [each for each in prune(engine, EVERYTHING_GOES, NOW).gone if each.name == "core.demand_forecast"] == []
    kept = {row.day for row in execute(engine, "SELECT day FROM core.demand_forecast")}
    ages = {(TODAY - day).days for day in kept}
    assert ages >= set(range(93))
    assert all(day.isoweekday() == 1 for day in kept if (TODAY - day).days > 92)
    assert (len([age for age in ages if age > 92]), max(ages)) == (44, 398)
    for said in (would, gone):
        assert [each.rows for each in said if each.name == "core.demand_forecast"] == [420 - len(kept)]


def lines(engine: Engine) -> dict[str, Any]:
    return {row.sku: row for row in execute(engine, "SELECT * FROM bi.restock_suggestions WHERE state = 'open'")}


def test_bad_input_is_named_with_its_remedy_and_the_rest_goes_on(engine: Engine) -> None:
    assert "materialize inventory_levels" in str(make_purchase_list(engine, SHOP, TODAY, POLICY).unfit)
    stock(engine, "tea", 5, reserved=2, held=3, withheld=3)
    stock(engine, "odd", None, problem="the platform says 'many'; correct it there")
    stock(engine, "alone", 5)
    stock(engine, "slow", 5)
    assert "materialize demand_forecast" in str(make_purchase_list(engine, SHOP, TODAY, POLICY).unfit)
    forecast_of(engine, tea=70, odd=7, alone=7, slow=7, unlisted=7)
    for sku in ("tea", "odd", "unlisted"):
        supplier(engine, sku)
    supplier(engine, "slow", None)
    made = make_purchase_list(engine, SHOP, TODAY, POLICY)
    assert made.unfit is None
    found = {(sku, field): problem for sku, field, problem in made.problems}
    assert found["odd", "on_hand"] == "the platform says 'many'; correct it there: no suggestion"
    assert "no usable supplier row" in found["alone", "lead_time_days"]
    assert "its stock is not known" in found["unlisted", "on_hand"]
    assert "write a number" in found["slow", "lead_time_days"]
    assert set(found) == {(sku, "on_hand") for sku in ("odd", "unlisted")} | {
        (sku, "lead_time_days") for sku in ("alone", "slow")
    }
    (tea,) = lines(engine).values()
    # 5 shown, 3 held back by us, 2 sold and not sent: 10 on the shelf.
    assert (tea.on_hand, tea.reserved, tea.held, tea.position) == (10, 2, 3, 5)
    assert tea.quantity == -(-tea.net_need // 5) * 5 > 0


def test_what_is_on_order_counts_when_it_comes_in_time_and_is_of_this_shop(engine: Engine) -> None:
    for sku in ("ours", "late", "shared"):
        stock(engine, sku, 0)
    forecast_of(engine, ours=7, late=7, shared=7)
    supplier(engine, "ours", on_order=9, on_order_due=TODAY + timedelta(days=17))
    supplier(engine, "late", on_order=9, on_order_due=TODAY + timedelta(days=18))
    supplier(engine, "shared", shop_id=None, on_order=9)
    for shop in (SHOP, "other"):
        execute(engine, "INSERT INTO sync.watermark VALUES (:shop, 'daily_sku_sales', now(), now(), now())", shop=shop)
        execute(
            engine, "INSERT INTO core.daily_sku_sales VALUES (:shop, :day, 'shared', 1, 1, true)", shop=shop, day=TODAY
        )
    made = make_purchase_list(engine, SHOP, TODAY, POLICY)
    assert {sku: row.on_order for sku, row in lines(engine).items()} == {"ours": 9, "late": 0}
    assert {(sku, field) for sku, field, _ in made.problems} >= {("late", "on_order"), ("shared", "on_order")}


def test_accepted_lines_are_on_order_until_they_come_and_rejected_ones_rest(engine: Engine) -> None:
    for sku in ("tea", "cup", "pot"):
        stock(engine, sku, 0)
        supplier(engine, sku)
    forecast_of(engine, tea=70, cup=7, pot=7)
    make_purchase_list(engine, SHOP, TODAY, POLICY)
    before = lines(engine)
    # An id stays with its line.
    make_purchase_list(engine, SHOP, TODAY, POLICY)
    assert {sku: row.suggestion_id for sku, row in lines(engine).items()} == {
        sku: row.suggestion_id for sku, row in before.items()
    }
    tea, cup, pot = (before[sku].suggestion_id for sku in ("tea", "cup", "pot"))
    with pytest.raises(UnknownLineError, match="there is no suggestion 999"):
        accept_suggestions(engine, [tea, 999], "anna")
    assert not execute(engine, "SELECT FROM core.purchase")
    # Accepted by two at once is bought once.
    accepted_from = day_of(datetime.now(UTC))
    results: list[Any] = []
    workers = [
        threading.Thread(target=lambda: results.extend(accept_suggestions(engine, [tea], "anna"))) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(each.is_new for each in results) == [False, True]
    ((purchase, quantity, due),) = execute(engine, "SELECT purchase_id, quantity, due_on FROM bi.purchases")
    assert quantity == before["tea"].quantity
    assert due - timedelta(days=10) in {accepted_from, day_of(datetime.now(UTC))}
    reject_suggestions(engine, [cup], "anna", "too dear")
    with pytest.raises(UnknownLineError, match="was rejected"):
        accept_suggestions(engine, [cup], "anna")
    execute(engine, "UPDATE core.restock_suggestion SET decided_at = :at WHERE state = 'rejected'", at=NOW)
    make_purchase_list(engine, SHOP, TODAY, POLICY)
    after = lines(engine)
    assert (after["tea"].quantity, after["tea"].on_order) == (0, quantity)
    assert after["cup"].reason == "rejected on 2026-03-15; suggested again from 2026-03-22"
    assert after["pot"].quantity > 0

    # It comes in two parts; each is off order as it comes, once whole it is closed for good.
    with transaction(engine) as connection:
        receive(connection, purchase, "anna", 30)
    make_purchase_list(engine, SHOP, TODAY, POLICY)
    assert lines(engine)["tea"].on_order == quantity - 30
    stock(engine, "tea", quantity)
    with transaction(engine) as connection:
        assert receive(connection, purchase, "anna")["outcome"] == "received"
        assert receive(connection, purchase, "anna", 5)["received_quantity"] == quantity
        assert cancel(connection, purchase, "anna", "late")["outcome"] == "received"
    make_purchase_list(engine, SHOP, TODAY, POLICY)
    assert (lines(engine)["tea"].on_order, lines(engine)["tea"].quantity) == (0, 0)
    # A list of an earlier day leaves the later one alone.
    assert "is later" in str(make_purchase_list(engine, SHOP, TODAY - timedelta(days=1), POLICY).unfit)
    assert lines(engine)["pot"].suggestion_id == pot


def shipping(engine: Engine) -> dict[str, tuple[str, str | None]]:
    return {
        row.order_id: (row.state, row.reason)
        for row in execute(engine, "SELECT order_id, state, reason FROM bi.ship_list ORDER BY listed_at NULLS FIRST")
    }


def test_a_stopped_line_is_said_once_and_listed_again_when_its_refund_is_withdrawn(engine: Engine) -> None:
    store(engine, order(1), order(2), order(3), order(4, extra={"forbid_consign": 1}), order(5, sku="cup"))
    assert make_ship_list(engine, SHOP, TODAY).unfit
    assert {state for state, _ in shipping(engine).values()} == {"held_back"}
    stock(engine, "tea", 0, reserved=3)
    made = make_ship_list(engine, SHOP, TODAY)
    assert (made.lines, made.orders, made.pieces, made.held) == (3, 3, 3, 2)
    assert [(pick.sku, pick.pieces) for pick in made.picks] == [("tea", 3)]
    assert "forbids to send it" in str(shipping(engine)["4"][1])
    assert "the stock of cup is not known" in str(shipping(engine)["5"][1])
    assert due_stops(engine, SHOP) == 0

    def refund(minute: int, status: str, number: int = 1) -> None:
        row = refund_row(
            f"r{number}", minute=minute, order_id=str(number), item_id=str(number), status=status, quantity=1,
            refund_fee=Decimal(10), good_status="BUYER_NOT_RECEIVED",
        )  # fmt: skip
        with transaction(engine) as connection:
            merge_refunds(connection, SHOP, "taobao", Source.DETAIL, [row])

    refund(1, "WAIT_SELLER_AGREE")
    refund(1, "SUCCESS", 2)
    store(engine, order(3, version=5, status="TRADE_FINISHED"))
    assert due_stops(engine, SHOP) == 2
    assert {each.reason for each in stop_shipments(engine, SHOP)} == {"the buyer asks for a refund", "it was refunded"}
    assert stop_shipments(engine, SHOP) == ()
    assert make_ship_list(engine, SHOP, TODAY).lines == 0
    assert shipping(engine)["3"] == ("shipped", None)
    refund(2, "CLOSED")
    assert make_ship_list(engine, SHOP, TODAY).lines == 1
    again = execute(engine, "SELECT state FROM bi.ship_list WHERE order_id = '1' ORDER BY listed_at")
    assert again == [("stopped",), ("listed",)]
    # The same refund again, opened once more: a list of its own, and so a word of its own.
    refund(3, "WAIT_SELLER_AGREE")
    assert len(stop_shipments(engine, SHOP)) == 1
    for kind, table in (("stop_shipment", "sync.notice"), ("shipment_stopped", "sync.hook_event")):
        assert execute(engine, f"SELECT count(*) FROM {table} WHERE kind = :kind", kind=kind) == [(3,)]
    assert execute(engine, "SELECT count(*) FROM sync.hook_event WHERE kind = 'ship_list'") == [(2,)]


def test_a_stop_notice_ends_when_the_line_is_listed_again_left_or_was_stopped_two_days_ago(engine: Engine) -> None:
    held = {"forbid_consign": 1}
    store(engine, *(order(number) for number in range(1, 5)))
    stock(engine, "tea", 0, reserved=4)
    make_ship_list(engine, SHOP, TODAY)
    store(engine, *(order(number, version=5, extra=held) for number in range(1, 5)))
    assert len(stop_shipments(engine, SHOP)) == 4

    def open_orders() -> list[str]:
        with transaction(engine) as connection:
            return sorted(row["order_id"] for row in open_stops(connection, [SHOP]))

    stop_shipments(engine, SHOP)
    assert open_orders() == ["1", "2", "3", "4"]
    # Order 1 may leave after all, order 2 left although it was stopped, order 3 was stopped long ago.
    store(engine, order(1, version=6), order(2, version=6, status="TRADE_FINISHED"))
    execute(
        engine,
        "UPDATE core.ship_list_line SET stopped_at = now() - interval '49 hours' WHERE order_id = '3'",
    )
    assert make_ship_list(engine, SHOP, TODAY).lines == 1
    assert open_orders() == ["4"]
    # Those of another shop are its own.
    make_ship_list(engine, f"{SHOP} 2", TODAY)
    assert open_orders() == ["4"]


def test_two_who_make_a_list_at_once_make_one(engine: Engine) -> None:
    store(engine, *(order(number) for number in range(1, 30)))
    stock(engine, "tea", 0, reserved=20)
    made: list[Any] = []
    workers = [threading.Thread(target=lambda: made.append(make_ship_list(engine, SHOP, TODAY))) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(each.lines for each in made) == [0, 0, 20]
    assert execute(engine, "SELECT sum(quantity), count(DISTINCT order_id) FROM core.ship_list_line") == [(20, 20)]


def test_files_hold_numbers_as_numbers_long_ids_whole_and_no_formula(tmp_path: Path) -> None:
    rows = [
        {"sku": "=2+3", "order": "1234567890123456789", "quantity": 7, "at": NOW, "cost": Decimal("1.50"), "no": None}
    ]
    columns = {"sku": "SKU", "order": "order", "quantity": "pieces", "at": "at", "cost": "cost", "no": "茶"}
    with write_csv(tmp_path / "new" / "list.csv", rows, columns).open(encoding="utf-8-sig", newline="") as file:
        (line,) = csv.DictReader(file)
    assert line == {
        "SKU": "'=2+3", "order": "'1234567890123456789", "pieces": "7", "at": "2026-03-15 10:00", "cost": "1.5",
        "茶": "",
    }  # fmt: skip
    book = openpyxl.load_workbook(write_xlsx(tmp_path / "list.xlsx", {"list": (rows, columns)}))
    heading, values = book["list"].iter_rows()
    assert [cell.value for cell in heading] == list(columns.values())
    assert [cell.value for cell in values] == ["=2+3", "1234567890123456789", 7, "2026-03-15 10:00", 1.5, None]
    assert [cell.data_type for cell in values][:3] == ["s", "s", "n"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.xlsx", "new"]
