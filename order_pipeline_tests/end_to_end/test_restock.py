"""order-pipeline restock and ship-list as a buyer and a packer use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from order_pipeline.cli import cli
from order_pipeline.sync.restocking import make_purchase_list
from order_pipeline.sync.shipping import make_ship_list, stop_shipments
from order_pipeline_tests.sync.test_restocking import (
    NOW,
    POLICY,
    SHOP,
    TODAY,
    begin,
    forecast_of,
    order,
    stock,
    store,
    supplier,
)


@pytest.fixture
def _home(project_folder: Path, warehouse_url: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setenv("ORDER_PIPELINE_DATABASE_URL", warehouse_url)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", warehouse_url)


def say(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, list(words))
    assert done.exit_code == code, done.output
    return done.output


def said(*words: str) -> Any:
    return json.loads(say(*words, "--json"))


@pytest.mark.usefixtures("_home")
def test_a_buyer_lists_accepts_rejects_and_receives_and_a_packer_reads_the_ship_list(
    engine: Engine, tmp_path: Path
) -> None:
    begin(engine, NOW)
    assert "Nothing is to be bought" in say("restock", "list")
    for sku in ("tea", "cup", "pot"):
        stock(engine, sku, 0)
        supplier(engine, sku)
    forecast_of(engine, tea=70, cup=7, pot=7)
    make_purchase_list(engine, SHOP, TODAY, POLICY)
    lines = {line["sku"]: line for line in said("restock", "list")["suggestions"]}
    assert set(lines) == {"tea", "cup", "pot"}
    assert "3 lines written" in say("restock", "list", "--csv", str(tmp_path / "list.csv"))
    assert (tmp_path / "list.csv").read_text(encoding="utf-8-sig").count("Tea House") == 3
    say("restock", "list", "--xlsx", str(tmp_path / "list.xlsx"))
    ids = {sku: str(line["suggestion_id"]) for sku, line in lines.items()}
    (bought,) = said("restock", "accept", ids["tea"], "--quantity", "40")["accepted"]
    assert (bought["sku"], bought["quantity"], bought["is_new"]) == ("tea", 40, True)
    assert "it was so before" in say("restock", "accept", ids["tea"])
    # What is on order is not changed by the way, and a slip of the hand is not taken for "nothing to do".
    changed = say("restock", "accept", ids["tea"], "--quantity", "7", code=2)
    assert f"is on order with 40 pieces, not 7, as purchase {bought['purchase_id']}" in changed
    assert "say it in words" in say("restock", "reject", ids["cup"], "--why", " ", code=2)
    for command in (("restock", "list"), ("restock", "purchases"), ("ship-list",), ("follow-ups", "list")):
        assert "no shop 'shop-'" in say(*command, "--shop", "shop-", code=2)
    assert "rejected" in say("restock", "reject", ids["cup"], "--why", "too dear")
    say("restock", "accept", "--all", code=2)
    assert said("restock", "accept", "--all", "--shop", SHOP)["accepted"][0]["sku"] == "pot"
    assert "there is no suggestion 999" in say("restock", "accept", "999", code=2)
    assert {each["sku"] for each in said("restock", "purchases")["purchases"]} == {"tea", "pot"}
    number = str(bought["purchase_id"])
    assert "10 of 40 came; on order, 30 to come" in say("restock", "received", number, "--quantity", "10")
    assert "10 of 40 came; cancelled" in say("restock", "cancel", number, "--why", "sold out")

    store(engine, order(1), order(2, sku="pot"))
    stock(engine, "tea", 1)
    make_ship_list(engine, SHOP, TODAY)
    lists = said("ship-list")
    assert [line["order_id"] for line in lists["to_send"]] == ["1"]
    assert [line["order_id"] for line in lists["held_back"]] == ["2"]
    assert "are needed, 0 are left" in lists["held_back"][0]["reason"]
    assert "1 line is held back" in say("ship-list", "--held")


@pytest.mark.usefixtures("_home")
def test_a_stop_stays_open_until_its_parcel_was_taken_out_and_status_says_what_there_is_to_do(engine: Engine) -> None:
    store(engine, order(1), order(2), order(3))
    stock(engine, "tea", 0, reserved=2)
    supplier(engine, "tea")
    forecast_of(engine, tea=70)
    make_purchase_list(engine, SHOP, TODAY, POLICY)
    make_ship_list(engine, SHOP, TODAY)
    store(engine, order(1, version=5, extra={"forbid_consign": 1}))
    assert len(stop_shipments(engine, SHOP)) == 1
    begin(engine, NOW)

    def counts() -> tuple[int, ...]:
        (shop,) = (each for each in said("status")["shops"] if each["shop"] == SHOP)
        names = ("skus_to_buy", "lines_to_send", "lines_held_back", "lines_to_stop", "parcels_stuck")
        return tuple(shop[name] for name in names)

    assert counts() == (1, 1, 1, 1, 0)
    told = say("status")
    assert "stock of 2026-03-15; 0 lines of pre-sales hold 0 pieces; 1 SKU to buy; 1 line to send, 1 held back" in told
    assert "1 listed line must not be sent (order-pipeline ship-list --stops)" in told
    (stop,) = said("ship-list", "--stops")["stops"]
    assert (stop["order_id"], stop["quantity"]) == ("1", 1)
    assert "1 line must be taken out" in say("ship-list", "--stops")
    number = str(stop["line_id"])
    assert "line 999 was not stopped" in say("ship-list", "--taken-out", number, "--taken-out", "999", code=2)
    say("ship-list", "--stops", "--held", code=2)
    assert said("ship-list", "--taken-out", number) == {"taken_out": [{"line_id": stop["line_id"], "was_open": True}]}
    assert "its stop was over before" in say("ship-list", "--taken-out", number)
    assert said("ship-list", "--stops")["stops"] == []
    assert say("ship-list", "--stops") == "0 lines must be taken out.\n"
    assert counts() == (1, 1, 1, 0, 0)
    # A look at the lists afterwards does not raise it again.
    assert stop_shipments(engine, SHOP) == ()
    assert counts()[3] == 0
