"""Runs over refunds as Dagster does them: real instance, real Postgres, the sandbox over HTTP."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
from sqlalchemy import Engine, text

from order_pipeline.automation.sensors import refund_requests, refunds_sensor
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.due import DueWork
from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.dagster_project.conftest import PlayedShops, run
from order_pipeline_tests.proving import begin_refunds_lately, refund_proof

TODAY = NOON.date()


def test_a_run_over_refunds_ends_equal_and_reports_itself(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    begin_refunds_lately(engine, shops.accesses["demo-shop"])
    loaded = run(defs, "sync_refunds", instance, str(TODAY - timedelta(days=6)), str(TODAY))
    assert loaded.success
    found = refund_proof(engine, shops.accesses["demo-shop"], play.server.url)
    assert found.equal, found.examples
    (listed,) = {
        event.metadata["refunds_listed"].value for event in loaded.asset_materializations_for_node("refund_pages")
    }
    whole = loaded.asset_materializations_for_node("refunds")[0].metadata
    assert listed == whole["refunds_loaded"].value == whole["dagster/row_count"].value == found.refunds
    # What the preview shows is nobody's words.
    preview = whole["preview"].value
    assert {column.name for column in preview.schema.columns} == {  # type: ignore[union-attr]
        "shop_id", "refund_id", "order_id", "status", "dispute_type", "refund_fee", "quantity", "modified_at",
    }  # fmt: skip
    assert all(check.passed for check in loaded.get_asset_check_evaluations())


def test_the_sensor_asks_for_a_run_only_when_there_is_work(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    access = shops.accesses["demo-shop"]

    def look() -> dg.SensorResult | dg.SkipReason:
        with dg.build_sensor_context(instance=instance, resources=dict(defs.resources or {})) as context:
            found = refunds_sensor(context)
        assert isinstance(found, dg.SensorResult | dg.SkipReason)
        return found

    begin_refunds_lately(engine, access)
    asked = look()
    assert isinstance(asked, dg.SensorResult)
    (wanted,) = asked.run_requests or ()
    assert wanted.job_name == "sync_refunds"
    assert wanted.tags["dagster/asset_partition_range_start"] == str(TODAY - timedelta(days=6))
    assert run(defs, "sync_refunds", instance, str(TODAY - timedelta(days=6)), str(TODAY)).success
    play.clock.advance(400)
    run(defs, "sync_refunds", instance, str(TODAY))
    play.clock.advance(400)
    before = access.calls.total
    idle = look()
    assert isinstance(idle, dg.SkipReason)
    assert "are known" in str(idle.skip_message)
    assert access.calls.total - before == 2


def test_several_shops_share_one_run_over_all_their_days() -> None:
    works = [DueWork((), (TODAY,), ""), DueWork((), (TODAY - timedelta(days=2), TODAY), ""), DueWork((), (), "")]
    (asked,) = refund_requests(works, 7)
    assert asked.tags["dagster/asset_partition_range_start"] == str(TODAY - timedelta(days=2))
    assert refund_requests([works[2]], 7) == []


def test_the_nightly_proof_of_refunds_is_red_until_they_are_equal(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    begin_refunds_lately(engine, shops.accesses["demo-shop"])
    assert run(defs, "sync_refunds", instance, str(TODAY - timedelta(days=6)), str(TODAY)).success
    assert run(defs, "load_history", instance, str(TODAY - timedelta(days=6)), str(TODAY)).success
    day = str(TODAY - timedelta(days=1))
    play.clock.advance(60)
    with transaction(engine) as connection:
        connection.execute(text("DELETE FROM core.refunds"))
    play.marketplace.faults.switch_on(Fault("poison", rate=0.5, seed=3, kind="money_text", method="taobao.refund.get"))
    red = {check.check_name: check for check in run(defs, "reconcile", instance, day).get_asset_check_evaluations()}
    assert not red["refunds_are_equal"].passed
    assert "1 refund differs" in str(red["refunds_are_equal"].description)
    assert red["day_is_equal"].passed
    play.marketplace.faults.clear()
    play.clock.advance(60)
    healed = run(defs, "reconcile", instance, day)
    assert all(check.passed for check in healed.get_asset_check_evaluations())
    (proof,) = [
        event.metadata
        for event in healed.asset_materializations_for_node("daily_reconciliation")
        if "refunds_refilled" in event.metadata
    ]
    assert proof["refunds_refilled"].value == proof["refunds_missing"].value
    assert proof["refunds_unsettled"].value == 0


def test_the_lineage_shows_where_refunds_come_from_and_go_to(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()

    def parents(asset: str) -> set[str]:
        return {key.path[-1] for key in graph.get(dg.AssetKey(asset)).parent_keys}

    assert parents("refunds") == {"refund_pages", "order_messages"}
    assert parents("daily_reconciliation") == {"fullinfo_orders", "refunds"}
