"""Runs over parcels as Dagster does them, and the command by which people work on what they find."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from order_pipeline.automation.schedules import hourly_parcels
from order_pipeline.cli import cli
from order_pipeline.sandbox.faults import Fault
from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.dagster_project.conftest import PlayedShops, run
from order_pipeline_tests.proving import begin_refunds_lately
from order_pipeline_tests.shipping import alerts, scan, shipped, sync

TODAY = str(NOON.date())
PLAIN = {"orders": 4, "days": 2, "stall_rate": 0.0, "parcel_oddity": 0.0}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


@pytest.mark.parametrize("play", [PLAIN], indirect=True)
def test_a_stuck_parcel_goes_from_the_run_to_a_person_and_ends(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    engine: Engine,
    play: Play,
    shops: PlayedShops,
    warehouse_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    access = shops.accesses["demo-shop"]
    begin_refunds_lately(engine, access, days=1)
    waybills = [shipped(play)["waybills"][0] for _ in range(3)]
    for waybill in waybills:
        scan(play, waybill, "GOT")
    shipped(play, waybill="自提")
    play.clock.advance(60)
    sync(engine, access)
    first = run(defs, "follow_parcels", instance, TODAY)
    assert first.success
    assert checks(first) == {
        "traces_are_answered": True,
        "parcels_have_numbers": False,
        "parcels_are_known": True,
        "trace_interface_is_alive": True,
    }
    play.clock.advance(timedelta(hours=72).total_seconds())
    found = run(defs, "follow_parcels", instance, TODAY)
    judged = found.asset_materializations_for_node("logistics_alerts")[0].metadata
    assert judged["alerts_opened"].value == judged["dagster/row_count"].value == 3
    followed = found.asset_materializations_for_node("shipment_traces")[0].metadata
    assert followed["parcels_asked"].value != 0
    assert followed["parcels_left"].value == 0

    monkeypatch.setenv("ORDER_PIPELINE_DATABASE_URL", warehouse_url)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", warehouse_url)

    def command(*words: str, expected: int = 0) -> dict[str, Any]:
        result = CliRunner().invoke(cli, ["follow-ups", *words, "--json"])
        assert result.exit_code == expected, result.output
        return dict(json.loads(result.stdout)) if not expected else {}

    listed = command("list")["follow_ups"]
    assert {each["tracking_number"] for each in listed} == set(waybills)
    taken, nobodys, done = (each["follow_up_id"] for each in listed)
    command("assign", str(taken), "--to", "Wang Fang")
    command("close", str(done), "--why", "the carrier has found it")
    command("close", str(done), "--why", "again", expected=2)
    command("assign", str(taken), "987654", "--to", "Li Na", expected=2)
    for waybill in waybills:
        scan(play, waybill, "ARRIVAL")
    play.clock.advance(3600)
    assert run(defs, "follow_parcels", instance, TODAY).success
    states = {each["follow_up_id"]: each["follow_up_state"] for each in alerts(engine)}
    # Who took it on closes it; what nobody took on is over with its alert.
    assert states == {taken: "assigned", nobodys: "closed", done: "closed"}
    shown = command("show", str(taken))
    assert shown["assignee"] == "Wang Fang"
    history = shown["history"]
    assert [entry.get("state") for entry in history] == ["open", "assigned", None]
    assert history[2]["note"] == "it moves"
    assert "Wang Fang" in CliRunner().invoke(cli, ["follow-ups", "show", str(taken)]).output
    assert str(done) not in CliRunner().invoke(cli, ["follow-ups", "list"]).output.split()
    with transaction(engine) as connection:
        told = connection.execute(text("SELECT title FROM sync.notice WHERE kind = 'stuck_parcels'")).scalars().all()
        connection.execute(text("SET LOCAL ROLE bi_reader"))
        assert connection.execute(text("SELECT count(*) FROM bi.logistics_alerts")).scalar() == 3
    assert told == ["3 parcels of shop demo-shop: on its way, but nothing has come for too long (S2)"]


@pytest.mark.parametrize("play", [PLAIN], indirect=True)
def test_an_interface_that_is_away_turns_its_checks_red(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    begin_refunds_lately(engine, shops.accesses["demo-shop"], days=1)
    shipped(play)
    play.clock.advance(60)
    sync(engine, shops.accesses["demo-shop"])
    play.marketplace.faults.switch_on(Fault("isp", method="taobao.logistics.trace.search", kind="unavailable"))
    red = run(defs, "follow_parcels", instance, TODAY)
    assert red.success
    assert not checks(red)["traces_are_answered"]
    assert not checks(red)["trace_interface_is_alive"]
    assert alerts(engine) == []


def test_the_schedule_asks_for_todays_run_of_shanghai(tmp_path: Path) -> None:
    at = datetime.fromisoformat("2026-03-15T16:20:00+00:00")
    with (
        dg.DagsterInstance.local_temp(str(tmp_path)) as instance,
        dg.build_schedule_context(instance=instance, scheduled_execution_time=at) as context,
    ):
        asked = hourly_parcels(context)
    assert isinstance(asked, dg.RunRequest)
    assert asked.partition_key == "2026-03-16"
