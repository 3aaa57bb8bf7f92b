"""Goods and their stock over the wire as contract 3.8 has them, their truth, and writes that go wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from order_pipeline.sandbox.clock import DrivenClock
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.contract_script import Script
from order_pipeline_tests.sandbox.test_logistics import act

ONSALE, INVENTORY = "taobao.items.onsale.get", "taobao.items.inventory.get"
ITEM, ITEMS, SKUS = "taobao.item.seller.get", "taobao.items.seller.list.get", "taobao.item.skus.get"
WRITE_ONE, WRITE_SEVERAL = "taobao.item.quantity.update", "taobao.skus.quantity.update"
SKU = "sku_id,num_iid,quantity,outer_id,modified,price,properties_name"
# A product of the synthetic shop that sells well.
PRODUCT = 100_000
NUM_IID, FIRST_SKU = 600_000_000_000 + PRODUCT, 5_000_000_000_000 + PRODUCT * 10


def stock_of(server: SandboxServer) -> dict[int, dict[str, Any]]:
    response = requests.get(server.url + "/sandbox/truth/stock", params={"shop": DEMO_SHOP.id}, timeout=30)
    assert response.status_code == 200
    return {row["sku_id"]: row for row in map(json.loads, response.text.splitlines())}


def level(script: Script, sku_id: int = FIRST_SKU) -> int:
    rows = script.call(SKUS, fields=SKU, num_iids=NUM_IID)["skus"]["sku"]
    found: int = next(row["quantity"] for row in rows if row["sku_id"] == sku_id)
    return found


def ordered(server: SandboxServer, quantity: int = 2, **placement: Any) -> int:
    line = {"product_id": PRODUCT, "quantity": quantity}
    tid: int = act(server, "orders", action="place", lines=[line], **placement)["tid"]
    return tid


def test_every_level_is_accounted_for(server: SandboxServer) -> None:
    stock = stock_of(server)
    assert len(stock) > 1_000
    for row in stock.values():
        assert row["quantity"] == row["initial"] + row["arrived"] - row["sold"] + row["written"] >= 0
    assert all(sum(row[name] for row in stock.values()) > 10 for name in ("sold", "arrived", "oversold"))
    assert any(row["quantity"] == 0 for row in stock.values())


def test_lists_and_details_are_the_truth(server: SandboxServer, script: Script) -> None:
    stock = stock_of(server)
    items: dict[int, dict[str, Any]] = {}
    for method in (ONSALE, INVENTORY):
        for page_no in range(1, 20):
            answer = script.call(method, fields="num_iid,num,approve_status,outer_id", page_size=200, page_no=page_no)
            items |= {item["num_iid"]: item for item in answer.get("items", {}).get("item", [])}
            if page_no * 200 >= answer["total_results"]:
                break
    assert items.keys() == {row["num_iid"] for row in stock.values()}
    for num_iid, item in items.items():
        of_item = [row for row in stock.values() if row["num_iid"] == num_iid]
        assert item["num"] == sum(row["quantity"] for row in of_item)
        assert {row["approve_status"] for row in of_item} == {item["approve_status"]}
    some = list(items)[:40]
    rows = script.call(SKUS, fields=SKU, num_iids=",".join(map(str, [*some[:39], 5])))["skus"]["sku"]
    assert len(rows) == 39 * 4
    for row in rows:
        assert {name: stock[row["sku_id"]][name] for name in ("quantity", "outer_id", "num_iid")}.items() <= row.items()
    one = script.call(ITEM, fields="num,skus", num_iid=some[0])["item"]
    several = script.call(ITEMS, fields="num,sku", num_iids=f"{some[0]},5")["items"]["item"]
    assert several == [one]
    assert len(one["skus"]["sku"]) == 4
    assert "skus" not in script.call(ITEMS, fields="num,skus", num_iids=some[0])["items"]["item"][0]


def test_stock_falls_when_paid_and_rises_when_closed_before_it_was_shipped(
    market: Marketplace, server: SandboxServer, script: Script
) -> None:
    act(server, "stock", sku_id=FIRST_SKU, set=50)
    tid = ordered(server)
    assert level(script) == 50
    act(server, "orders", action="pay", tid=tid)
    assert level(script) == 48
    act(server, "orders", action="change_sku", tid=tid, variant=1)
    assert level(script) == 50
    act(server, "orders", action="change_sku", tid=tid, variant=0)
    market.move_refund(DEMO_SHOP.id, tid, "WAIT_SELLER_AGREE")
    assert level(script) == 48
    market.move_refund(DEMO_SHOP.id, tid, "SUCCESS")
    market.edit_memo(DEMO_SHOP.id, tid, "again")
    assert level(script) == 50
    shipped = ordered(server)
    act(server, "orders", action="pay", tid=shipped)
    act(server, "orders", action="consign", tid=shipped)
    market.move_refund(DEMO_SHOP.id, shipped, "SUCCESS")
    assert level(script) == 48
    act(server, "stock", sku_id=FIRST_SKU, add=7)
    assert level(script) == 55


def test_a_deposit_takes_nothing_yet_and_nobody_sells_what_is_not_there(server: SandboxServer, script: Script) -> None:
    act(server, "stock", sku_id=FIRST_SKU, set=3)
    tid = ordered(server, quantity=5, type="step")
    act(server, "orders", action="pay_deposit", tid=tid)
    assert level(script) == 3
    act(server, "orders", action="pay", tid=tid)
    row = stock_of(server)[FIRST_SKU]
    assert (row["quantity"], row["oversold"] >= 2) == (0, True)


def test_writes_keep_to_their_different_rules(server: SandboxServer, script: Script) -> None:
    second = FIRST_SKU + 1
    act(server, "stock", sku_id=FIRST_SKU, set=10)
    act(server, "stock", sku_id=second, set=10)
    item = script.call(WRITE_ONE, num_iid=NUM_IID, sku_id=FIRST_SKU, outer_id=f"P{PRODUCT}-1", quantity=20)["item"]
    assert {sku["sku_id"]: sku["quantity"] for sku in item["skus"]["sku"]}[FIRST_SKU] == 20
    assert level(script, second) == 10
    script.call(WRITE_ONE, num_iid=NUM_IID, outer_id=f"P{PRODUCT}-1", quantity=-4, type=2)
    assert level(script, second) == 6
    refused = script.call(WRITE_ONE, num_iid=NUM_IID, sku_id=second, quantity=-7, type=2)
    assert (refused["code"], level(script, second)) == (15, 6)
    script.call(WRITE_SEVERAL, num_iid=NUM_IID, type=2, skuid_quantities=f"{FIRST_SKU}:-99;{second}:1")
    assert (level(script), level(script, second)) == (0, 7)
    script.call(WRITE_SEVERAL, num_iid=NUM_IID, outerid_quantities=f"P{PRODUCT}-0:4;P{PRODUCT}-1:5")
    assert (level(script), level(script, second)) == (4, 5)
    unknown = script.call(WRITE_SEVERAL, num_iid=NUM_IID, skuid_quantities=f"{FIRST_SKU}:9;5:9")
    assert (unknown["sub_code"], level(script)) == ("isv.sku-not-exist", 4)


@pytest.mark.parametrize(
    ("method", "business", "code"),
    [
        (ONSALE, {}, 40),
        (ONSALE, {"fields": "num", "page_size": 201}, 41),
        (ONSALE, {"fields": "num", "page_size": 200, "page_no": 101}, 41),
        (ONSALE, {"fields": "num", "order_by": "price:asc"}, 41),
        (INVENTORY, {"fields": "num", "banner": "nonsense"}, 41),
        (INVENTORY, {"fields": "num", "page_size": 1, "page_no": 102}, 41),
        (SKUS, {"fields": "sku_id", "num_iids": ",".join(["1"] * 41)}, 41),
        (SKUS, {"fields": ",".join(["sku_id"] * 21), "num_iids": 1}, 41),
        (ITEMS, {"fields": "num", "num_iids": ",".join(["1"] * 21)}, 41),
        (ITEM, {"fields": "num", "num_iid": 5}, 15),
        (WRITE_ONE, {"num_iid": NUM_IID, "quantity": 1}, 40),
        (WRITE_ONE, {"num_iid": NUM_IID, "quantity": -1, "sku_id": FIRST_SKU}, 41),
        (WRITE_ONE, {"num_iid": NUM_IID, "quantity": "x", "sku_id": FIRST_SKU}, 41),
        (WRITE_ONE, {"num_iid": NUM_IID, "quantity": 1, "sku_id": FIRST_SKU, "type": 3}, 41),
        (WRITE_ONE, {"num_iid": 5, "quantity": 1, "sku_id": FIRST_SKU}, 15),
        (WRITE_SEVERAL, {"num_iid": NUM_IID}, 40),
        (WRITE_SEVERAL, {"num_iid": NUM_IID, "skuid_quantities": ";".join([f"{FIRST_SKU}:1"] * 21)}, 41),
        (WRITE_SEVERAL, {"num_iid": NUM_IID, "skuid_quantities": f"{FIRST_SKU}"}, 41),
    ],
)
def test_a_wrong_call_gets_its_code(script: Script, method: str, business: dict[str, Any], code: int) -> None:
    assert script.call(method, **business)["code"] == code


@pytest.mark.parametrize(("kind", "carried_out"), [("done", True), ("not_done", False)])
def test_a_write_may_time_out_either_way(market: Marketplace, script: Script, kind: str, carried_out: bool) -> None:
    script.call(WRITE_ONE, num_iid=NUM_IID, sku_id=FIRST_SKU, quantity=1)
    market.faults.switch_on(Fault("unknown_outcome", kind=kind, count=1))
    answer = script.call(WRITE_ONE, num_iid=NUM_IID, sku_id=FIRST_SKU, quantity=33)
    assert answer["sub_code"] == "isp.remote-service-timeout"
    assert level(script) == (33 if carried_out else 1)
    market.faults.clear()


@pytest.mark.parametrize(
    ("kind", "shown"), [("negative", -7), ("text", "缺货"), ("huge", int("9" * 30)), ("missing", None)]
)
def test_stock_that_cannot_be_true_is_a_fault(
    market: Marketplace, server: SandboxServer, script: Script, kind: str, shown: object
) -> None:
    market.faults.switch_on(Fault("odd_stock", method=SKUS, kind=kind))
    rows = script.call(SKUS, fields=SKU, num_iids=NUM_IID)["skus"]["sku"]
    assert {row.get("quantity") for row in rows} == {shown}
    market.faults.clear()
    assert stock_of(server)[FIRST_SKU]["quantity"] >= 0


def test_purchases_refill_what_runs_low(server: SandboxServer, clock: DrivenClock) -> None:
    act(server, "stock", sku_id=FIRST_SKU, set=0)
    before = stock_of(server)[FIRST_SKU]["arrived"]
    clock.advance(28 * 86_400)
    assert stock_of(server)[FIRST_SKU]["arrived"] > before


def test_writes_are_told_where_that_is_named(script: Script) -> None:
    topics = "taobao_item_ItemStockChanged,taobao_item_ItemSkuZeroStock"
    script.call("taobao.tmc.user.permit", topics=topics)
    script.call(WRITE_ONE, num_iid=NUM_IID, sku_id=FIRST_SKU, quantity=5)
    script.call(WRITE_ONE, num_iid=NUM_IID, sku_id=FIRST_SKU, quantity=0)
    told = script.call("taobao.tmc.messages.consume", quantity=200)["messages"]["tmc_message"]
    contents = [(message["topic"].split("_")[-1], json.loads(message["content"])["sku_num"]) for message in told]
    assert contents == [("ItemStockChanged", 5), ("ItemStockChanged", 0), ("ItemSkuZeroStock", 0)]
