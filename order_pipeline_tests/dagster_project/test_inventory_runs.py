"""Runs over holds and stock as Dagster does them: real instance, real Postgres, the sandbox over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from order_pipeline.automation.inventory import daily_inventory, holds_sensor
from order_pipeline.configuration import WriteStock
from order_pipeline.sandbox.steering import NewLine, PayDeposit, Place
from order_pipeline.sync.windows import SHANGHAI
from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.dagster_project.conftest import PlayedShops, run
from order_pipeline_tests.proving import now_due, pass_over

TODAY = NOON.date()
pytestmark = pytest.mark.parametrize("play", [{"orders": 150, "days": 2, "purchases_arrive": False}], indirect=True)


def look(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(instance=instance, resources=dict(defs.resources or {})) as context:
        found = holds_sensor(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def checks(result: dg.ExecuteInProcessResult) -> Mapping[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_a_morning_of_stock_from_the_sensor_to_the_write(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    access = shops.accesses["demo-shop"] = play.access(write_stock=WriteStock.ON)
    for _ in range(2):
        pass_over(engine, access)
        play.clock.advance(10)
    asked = look(defs, instance)
    assert isinstance(asked, dg.SensorResult)
    assert [request.job_name for request in asked.run_requests or ()] == ["derive_holds"]
    derived = run(defs, "derive_holds", instance, str(TODAY))
    assert derived.success
    assert checks(derived)["holds_add_up"].passed
    idle = look(defs, instance)
    assert isinstance(idle, dg.SkipReason)
    assert "no line of a pre-sale is newer" in str(idle.skip_message)

    lines = (NewLine(product_id=100_000, quantity=3),)
    tid = Place(shop="demo-shop", type="step", lines=lines).carry_out(play.marketplace)["tid"]
    PayDeposit(shop="demo-shop", tid=tid).carry_out(play.marketplace)
    play.clock.advance(10)
    now_due(engine)
    pass_over(engine, access)
    unseen = run(defs, "inventory", instance, str(TODAY))
    assert unseen.success
    assert "no dry run was ever looked at" in str(checks(unseen)["stock_is_written"].description)
    with transaction(engine) as connection:
        connection.execute(
            text("INSERT INTO sync.watermark VALUES ('demo-shop', 'stock_dry_run', now(), now(), now())")
        )
    done = run(defs, "inventory", instance, str(TODAY))
    assert done.success
    # What the play holds may not be there.
    assert {name for name, check in checks(done).items() if not check.passed} <= {"holds_are_covered"}
    (written,) = [event.metadata["written"].value for event in done.asset_materializations_for_node("stock_writes")]
    assert isinstance(written, int)
    assert written >= 1
    (levels,) = [event.metadata for event in done.asset_materializations_for_node("inventory_levels")]
    assert levels["dagster/partition_row_count"].value == levels["skus"].value
    # A past day is left as it is: the platform says only what there is now.
    past = run(defs, "inventory", instance, str(TODAY - timedelta(days=1)))
    assert past.success
    assert [e.metadata["skus"].value for e in past.asset_materializations_for_node("inventory_levels")] == [0]

    # Holds that do not add up stop everything that stands on them.
    with transaction(engine) as connection:
        connection.execute(
            text("UPDATE core.presale_hold SET held_quantity = 2 WHERE order_id = :tid"), {"tid": str(tid)}
        )
    stopped = run(defs, "inventory", instance, str(TODAY))
    assert not stopped.success
    assert not checks(stopped)["holds_add_up"].passed
    assert not stopped.asset_materializations_for_node("stock_writes")

    graph = defs.resolve_asset_graph()

    def parents(asset: str) -> set[str]:
        return {key.path[-1] for key in graph.get(dg.AssetKey(asset)).parent_keys}

    assert parents("presale_holds") == {"fullinfo_orders", "refunds"}
    assert (parents("inventory_levels"), parents("stock_writes")) == ({"presale_holds"}, {"inventory_levels"})
    six = datetime(2026, 3, 15, 6, tzinfo=SHANGHAI)
    with dg.build_schedule_context(scheduled_execution_time=six) as context:
        request = daily_inventory(context)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-03-15"
