"""order-pipeline quarantine as a person on call uses it: real processes over a real warehouse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.end_to_end.program import run_here, shops_file
from order_pipeline_tests.proving import pass_over, proof
from order_pipeline_tests.sync.test_replay import DETAIL, mend


@pytest.fixture
def _home(
    project_folder: Path, play: Play, warehouse_url: str, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    """A warehouse in which the details of some orders could not be read."""
    shops_file(project_folder, play)
    monkeypatch.setenv("ORDER_PIPELINE_DATABASE_URL", warehouse_url)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", warehouse_url)
    play.marketplace.faults.switch_on(Fault("poison", method=DETAIL, rate=0.05, seed=3, kind="money_text"))
    pass_over(engine, play.access())
    play.marketplace.faults.clear()


pytestmark = pytest.mark.usefixtures("_home")


def listed(*options: str) -> list[dict[str, Any]]:
    found = run_here("quarantine", "list", "--json", *options)
    assert found.returncode == 0, found.stderr
    records: list[dict[str, Any]] = json.loads(found.stdout)["records"]
    return records


def check_is_green() -> bool:
    """What Dagster's UI shows of fullinfo_orders' check."""
    key = dg.AssetCheckKey(dg.AssetKey("fullinfo_orders"), "nothing_is_quarantined")
    with dg.DagsterInstance.from_config(str(Path.cwd())) as instance:
        (newest,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    return newest.status.value == "SUCCEEDED"


@pytest.mark.parametrize("play", [{"orders": 120}], indirect=True)
def test_records_are_listed_shown_replayed_and_the_check_is_green_again(play: Play, engine: Engine) -> None:
    records = listed()
    assert len(records) >= 2
    assert listed("--shop", "demo-shop") == records
    unknown = run_here("quarantine", "list", "--shop", "demo-shpo")
    assert unknown.returncode == 2
    assert "no shop 'demo-shpo'; did you mean 'demo-shop'?" in unknown.stderr
    first = records[0]
    assert first["order_id"]
    assert first["reason"]
    assert first["times_seen"] == 1
    assert first["age_seconds"] >= 0
    assert "body" not in first
    table = run_here("quarantine", "list").stdout
    assert str(first["order_id"]) in table.replace("\n", "")
    number = str(first["quarantine_id"])
    shown = json.loads(run_here("quarantine", "show", number, "--json").stdout)
    assert json.loads(shown["body"])["tid"] == int(first["order_id"])
    assert "receiver_name" not in shown["body"]
    assert f"order_id: {first['order_id']}" in run_here("quarantine", "show", number).stdout
    # One cannot be read yet: its order is fetched by the next pass.
    refused = run_here("quarantine", "replay", number)
    assert refused.returncode == 1
    assert "is fetched whole by the next pass" in refused.stdout
    mend(engine)
    replayed = run_here("quarantine", "replay", number, "--json")
    assert replayed.returncode == 0, replayed.stderr
    result = json.loads(replayed.stdout)
    assert result["results"][0]["result"] == "loaded"
    assert result["open"] == len(records) - 1
    assert not check_is_green()
    everything = run_here("quarantine", "replay", "--all")
    assert everything.returncode == 0, everything.stderr
    assert "0 still open" in everything.stdout
    assert check_is_green()
    assert "Nothing is quarantined" in run_here("quarantine", "list").stdout
    found = proof(engine, play.access(), play.server.url)
    assert found.equal, found.examples
    assert json.loads(run_here("status", "--json").stdout)["shops"][0]["quarantined"] == 0


@pytest.mark.parametrize("play", [{"orders": 120}], indirect=True)
def test_a_record_is_discarded_with_a_reason_and_a_name(engine: Engine) -> None:
    records = listed("--shop", DEMO_SHOP.id)
    number = str(records[0]["quarantine_id"])
    unreasoned = run_here("quarantine", "discard", number)
    assert unreasoned.returncode == 2
    assert "--why" in unreasoned.stderr
    discarded = run_here("quarantine", "discard", number, "--why", "a test order of ours")
    assert discarded.returncode == 0, discarded.stderr
    assert len(listed()) == len(records) - 1
    with transaction(engine) as connection:
        query = text("SELECT resolution, resolved_by, resolved_at FROM sync.quarantine WHERE quarantine_id = :number")
        resolution, by, at = connection.execute(query, {"number": number}).one()
    assert resolution == "discarded: a test order of ours"
    assert "@" in by
    assert at is not None


@pytest.mark.parametrize("play", [{"orders": 20}], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "999"], "there is no record 999"),
        (["replay", "999"], "there is no record 999"),
        (["replay"], "name records by their ID, or say --all"),
        (["replay", "1", "--all"], "name records by their ID, or say --all"),
        (["show", "x"], "'x' is not a valid integer"),
        (["discard", "1", "--why", " "], "say it in words"),
    ],
)
def test_a_wrong_call_gets_one_line(arguments: list[str], said: str) -> None:
    refused = run_here("quarantine", *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
