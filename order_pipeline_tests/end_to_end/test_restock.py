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
from order_pipeline.sync.shipping import make_ship_list
from order_pipeline_tests.sync.test_restocking import (
    POLICY,
    SHOP,
    TODAY,
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
    assert "1 lines are held back" in say("ship-list", "--held")
