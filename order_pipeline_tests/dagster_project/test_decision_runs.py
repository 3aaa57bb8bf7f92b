"""A morning as Dagster runs it: orders, refunds, stock, demand, forecast, purchase list, ship list."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import openpyxl
import pytest
import requests
from sqlalchemy import Engine, text

from order_pipeline.automation.decisions import shipments_sensor
from order_pipeline.sync.merchant_files import load_list
from order_pipeline.sync.restocking import accept_suggestions, reject_suggestions
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.merchant_lists import SUPPLIERS
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.dagster_project.conftest import PlayedShops, run
from order_pipeline_tests.proving import begin_refunds_lately

TODAY = NOON.date()
DAYS = 16

pytestmark = pytest.mark.parametrize("play", [{"orders": 200, "days": DAYS, "purchases_arrive": False}], indirect=True)


@pytest.fixture
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_PIPELINE_HOME", str(tmp_path / "home"))


def rows(engine: Engine, query: str, **values: object) -> list[Any]:
    with transaction(engine) as connection:
        return list(connection.execute(text(query), values))


def truth(play: Play, path: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{play.server.url}/sandbox/truth/{path}?shop=demo-shop", timeout=30)
    return [json.loads(each) for each in answer.text.splitlines()]


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(asset)
    return {name: entry.value for name, entry in event.metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    return {(each.asset_key.path[-1], each.check_name): each for each in result.get_asset_check_evaluations()}


@pytest.mark.usefixtures("_home")
def test_a_day_of_everything_succeeds_and_its_numbers_add_up(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops, tmp_path: Path
) -> None:
    access = shops.accesses["demo-shop"]
    begin_refunds_lately(engine, access, DAYS)
    first = str(TODAY - timedelta(days=DAYS))
    assert run(defs, "load_history", instance, first, str(TODAY)).success
    assert run(defs, "sync_refunds", instance, first, str(TODAY)).success
    assert run(defs, "sync_orders", instance, str(TODAY)).success
    assert run(defs, "inventory", instance, str(TODAY)).success
    made = run(defs, "restock", instance, str(TODAY))
    assert made.success

    # Demand, against the platform's own orders.
    lines = rows(
        engine,
        """
        SELECT i.sku_code AS sku, (o.paid_at AT TIME ZONE 'Asia/Shanghai')::date AS day, i.quantity,
               i.shipped_at, i.status, i.divided_payment, i.payment
        FROM bi.order_items i JOIN bi.orders o USING (shop_id, order_id)
        WHERE o.paid_at IS NOT NULL AND o.type NOT IN ('cod', 'step')
        """,
    )
    counted = {
        (row.sku, row.day): row.quantity for row in rows(engine, "SELECT sku, day, quantity FROM bi.daily_sku_sales")
    }
    bundled = {
        row.sku_code for row in rows(engine, "SELECT sku_code FROM core.order_items WHERE extra ? 'combine_item_info'")
    }
    assert bundled
    # A bundle is wanted as its parts.
    assert not bundled & {sku for sku, _ in counted}
    certain = Counter[tuple[str, Any]]()
    for line in lines:
        if line.sku not in bundled and line.shipped_at and (line.divided_payment or line.payment) > 0:
            certain[line.sku, line.day] += line.quantity
    assert len(certain) > 50
    assert not [key for key, quantity in certain.items() if counted.get(key, 0) < quantity]
    # Before any supplier is known nothing is bought, and every SKU that sells says what is missing.
    judged = checks(made)
    incomplete = judged["restock_suggestions", "inputs_are_complete"]
    assert not incomplete.passed
    assert metadata(made, "restock_suggestions")["skus_to_buy"] == 0
    assert rows(engine, "SELECT count(*) FROM core.restock_problem WHERE problem LIKE '%supplier%'")[0][0] > 50
    assert all(
        each.passed for key, each in judged.items() if key[1] not in ("inputs_are_complete", "nothing_waits_too_long")
    )
    # The forecast and its picture.
    said = metadata(made, "demand_forecast")
    assert said["picture_demo_shop"].startswith("![forecast against sales](data:image/png;base64,")
    assert said["dagster/row_count"] == rows(engine, "SELECT count(*) FROM bi.demand_forecast")[0][0] > 50
    assert not rows(engine, "SELECT FROM bi.demand_forecast WHERE q50 > q90 OR expected_quantity < 0")

    # With suppliers; two rows of their list are wrong, and cost nobody else the list.
    skus = [row.sku for row in rows(engine, "SELECT sku FROM bi.demand_forecast WHERE model <> 'dormant' ORDER BY sku")]
    listed = tmp_path / "suppliers.csv"
    listed.write_text(
        "sku_code,supplier,lead_time_days,moq,pack_size\n"
        + "".join(f"{sku},Hangzhou Tea,{30 if number else 'soon'},6,6\n" for number, sku in enumerate(skus[:-1]))
    )
    load_list(engine, SUPPLIERS, listed)
    made = run(defs, "restock", instance, str(TODAY))
    assert made.success
    to_buy = rows(engine, "SELECT * FROM bi.restock_suggestions WHERE quantity > 0")
    assert to_buy
    for row in rows(engine, "SELECT * FROM bi.restock_suggestions"):
        assert row.position == row.on_hand + row.on_order - row.reserved - row.held
        assert row.net_need == max(row.order_up_to - row.position, 0)
        assert row.quantity % 6 == 0
        assert not row.quantity or row.position <= row.reorder_point
        assert row.reason
    # Stock as the platform has it in truth.
    shelf = Counter[str]()
    for sku in truth(play, "stock"):
        shelf[sku["outer_id"]] += sku["quantity"]
    for row in to_buy:
        assert row.on_hand - row.reserved == shelf[row.sku]
    problems = {(row.sku, row.field) for row in rows(engine, "SELECT sku, field FROM core.restock_problem")}
    assert {(skus[0], "lead_time_days"), (skus[-1], "lead_time_days")} <= problems
    assert not {row.sku for row in to_buy} & {skus[0], skus[-1]}

    # The files hold the list.
    files = metadata(made, "restock_suggestions")
    with Path(files["csv"]).open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.DictReader(file))
    assert sorted(line["SKU"] for line in written) == sorted(row.sku for row in to_buy)
    sheet = openpyxl.load_workbook(files["xlsx"]).worksheets[0]
    assert sheet.max_row == len(to_buy) + 1

    # Accepted is on order: the next list is without it, however often it is made.
    some = [row.suggestion_id for row in to_buy]
    accept_suggestions(engine, some[:-1], "tester")
    accept_suggestions(engine, some[:-1], "tester")
    reject_suggestions(engine, some[-1:], "tester", "too dear")
    assert run(defs, "restock", instance, str(TODAY)).success
    assert not rows(engine, "SELECT FROM bi.restock_suggestions WHERE quantity > 0 AND state = 'open'")
    bought = {row.sku: row.on_order for row in rows(engine, "SELECT sku, on_order FROM bi.purchases")}
    assert bought == {row.sku: row.quantity for row in to_buy[:-1]}
    reason = rows(
        engine, "SELECT reason FROM bi.restock_suggestions WHERE state = 'open' AND sku = :sku", sku=to_buy[-1].sku
    )
    assert reason[0][0].startswith("rejected on ")
    # People and systems were told once.
    told = rows(engine, "SELECT kind FROM sync.notice WHERE kind = 'restock_list_ready' AND resolved_at IS NULL")
    assert len(told) == 1
    assert len(rows(engine, "SELECT FROM sync.hook_event WHERE kind = 'purchase_accepted'")) == len(to_buy) - 1

    # The backtest judges what the history allows, and says of the rest that it is too little.
    backtest = run(defs, "judge_forecasts", instance, str(TODAY))
    assert backtest.success
    assert "needs 35 days" in str(checks(backtest)["forecast_backtest", "every_shop_is_judged"].description)

    ship_list_follows_the_platform(defs, instance, engine, play)


def ship_list_follows_the_platform(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play
) -> None:
    """What was listed is what may leave; a refund after that stops it once, and an order is never listed twice."""
    state = {row.item_id: row for row in rows(engine, "SELECT * FROM bi.ship_list")}
    waiting = rows(
        engine,
        "SELECT item_id, reserved_quantity FROM bi.order_items WHERE reserved_quantity > 0 AND shipped_at IS NULL",
    )
    assert waiting
    assert {row.item_id: row.reserved_quantity for row in waiting} == {key: row.quantity for key, row in state.items()}
    assert all(row.reason for row in state.values() if row.state == "held_back")
    listed = {key: row for key, row in state.items() if row.state == "listed"}
    assert listed
    by_sku = Counter[str]()
    for row in listed.values():
        by_sku[row.sku] += row.quantity
    on_hand = Counter[str]()
    for row in rows(
        engine,
        "SELECT sku_code, coalesce(platform_quantity + reserved, 0) AS pieces FROM bi.inventory_levels",
    ):
        on_hand[row.sku_code] += row.pieces
    assert not [sku for sku, pieces in by_sku.items() if pieces > on_hand[sku]]

    def look() -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(instance=instance, resources=dict(defs.resources or {})) as context:
            found = shipments_sensor(context)
        assert isinstance(found, dg.SensorResult | dg.SkipReason)
        return found

    assert isinstance(look(), dg.SkipReason)
    refunded = next(row for row in listed.values() if row.item_id == row.order_id)
    play.clock.advance(60)
    play.marketplace.move_refund("demo-shop", int(refunded.order_id), "WAIT_SELLER_AGREE", lines=(0,))
    play.clock.advance(60)
    assert run(defs, "sync_orders", instance, str(TODAY)).success
    assert run(defs, "sync_refunds", instance, str(TODAY)).success
    asked = look()
    assert isinstance(asked, dg.SensorResult)
    for _ in range(2):
        assert run(defs, "watch_shipments", instance, str(TODAY)).success
        assert run(defs, "list_shipments", instance, str(TODAY)).success
    assert isinstance(look(), dg.SkipReason)
    stopped = rows(engine, "SELECT * FROM bi.ship_list WHERE state = 'stopped'")
    assert refunded.order_id in {row.order_id for row in stopped}
    for kind, table in (("stop_shipment", "sync.notice"), ("shipment_stopped", "sync.hook_event")):
        assert len(rows(engine, f"SELECT FROM {table} WHERE kind = :kind", kind=kind)) == len(stopped)
    twice = rows(
        engine, "SELECT order_id FROM bi.ship_list WHERE state <> 'stopped' GROUP BY 1, item_id HAVING count(*) > 1"
    )
    assert not twice
