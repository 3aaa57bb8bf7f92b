"""Runs as Dagster does them: real instance, real Postgres, the sandbox over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from sqlalchemy import Engine, text

from order_pipeline.automation.schedules import daily_close
from order_pipeline.automation.sensors import orders_sensor, run_requests
from order_pipeline.commands.status import session_state
from order_pipeline.definitions import build_defs
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.due import DueWork
from order_pipeline.sync.windows import SHANGHAI, day_window
from order_pipeline.traffic.breaker import Breaker
from order_pipeline.traffic.gate import Gate
from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.dagster_project.conftest import PlayedShops, run
from order_pipeline_tests.proving import pass_over, proof

TODAY = NOON.date()


def test_history_then_changes_end_equal_to_the_platform(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    loaded = run(defs, "load_history", instance, str(TODAY - timedelta(days=6)), str(TODAY))
    assert loaded.success
    for tid in [trade.tid for trade, _ in play.marketplace.ledger("demo-shop").versions()][:40]:
        play.marketplace.edit_memo("demo-shop", tid, "gift")
    play.clock.advance(30)
    changed = run(defs, "sync_orders", instance, str(TODAY))
    assert changed.success
    (listed,) = changed.asset_materializations_for_node("increment_pages")
    assert listed.metadata["orders_changed"].value == 40
    assert listed.metadata["watermark_lag_seconds"].value == 3.0
    (whole,) = changed.asset_materializations_for_node("fullinfo_orders")
    assert whole.metadata["orders_loaded"].value == 40
    assert whole.metadata["dagster/row_count"].value == 300
    assert all(check.passed for check in changed.get_asset_check_evaluations())
    found = proof(engine, shops.accesses["demo-shop"], play.server.url)
    assert found.equal, found.examples


def test_every_day_of_a_range_is_materialized(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    days = [str(TODAY - timedelta(days=number)) for number in range(3, -1, -1)]
    assert run(defs, "load_history", instance, days[0], days[-1]).success
    assert set(days) == instance.get_materialized_partitions(dg.AssetKey("history_pages"))
    assert set(days) == instance.get_materialized_partitions(dg.AssetKey("fullinfo_orders"))


def test_materializing_a_day_again_changes_nothing(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine
) -> None:
    def rows() -> list[object]:
        with transaction(engine) as connection:
            return [tuple(row) for row in connection.execute(text("SELECT * FROM core.orders ORDER BY order_id"))]

    assert run(defs, "load_history", instance, str(TODAY)).success
    before = rows()
    assert run(defs, "load_history", instance, str(TODAY)).success
    assert rows() == before


def test_a_refetch_asks_for_every_order_of_the_day_again(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play
) -> None:
    day = str(TODAY - timedelta(days=1))
    assert run(defs, "load_history", instance, day).success
    with transaction(engine) as connection:
        orders = connection.execute(text("UPDATE core.orders SET seller_memo = 'damaged'")).rowcount
    play.clock.advance(1)
    again = run(defs, "load_history", instance, day, fullinfo_orders={"config": {"refetch": True}})
    assert again.asset_materializations_for_node("fullinfo_orders")[0].metadata["orders_fetched"].value == orders
    with transaction(engine) as connection:
        left = connection.execute(text("SELECT count(*) FROM core.orders WHERE seller_memo = 'damaged'")).scalar()
    assert left == 0


def test_a_poisoned_record_turns_the_runs_check_red_and_the_rest_loads(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play
) -> None:
    play.marketplace.faults.switch_on(Fault(name="poison", rate=0.1, seed=2, kind="money_text"))
    result = run(defs, "load_history", instance, str(TODAY - timedelta(days=1)))
    assert result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert not checks["every_record_was_read"].passed
    assert "sync.quarantine" in str(checks["every_record_was_read"].description)
    assert not checks["nothing_is_quarantined"].passed
    (whole,) = result.asset_materializations_for_node("fullinfo_orders")
    assert isinstance(whole.metadata["orders_loaded"].value, int)
    assert whole.metadata["orders_loaded"].value > 20


def test_an_open_breaker_is_a_warning_and_its_changes_are_in_the_checks_metadata_and_the_status(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    breaker = Breaker(engine, play.shop().app_key)
    access = shops.accesses["demo-shop"] = play.access(100, timedelta(0), Gate(breaker=breaker))

    def breaker_check() -> dg.AssetCheckEvaluation:
        done = run(defs, "sync_orders", instance, str(TODAY))
        assert done.success
        return next(each for each in done.get_asset_check_evaluations() if each.check_name == "breaker_is_closed")

    pass_over(engine, access)
    assert breaker_check().passed
    breaker.force_open("20 of 20 calls failed", seconds=3600)
    found = breaker_check()
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "20 of 20 calls failed; one full pull an hour" in str(found.description)
    state = session_state(engine, play.shop(), play.now)
    assert state["breaker_reason"] == "20 of 20 calls failed"
    breaker.force_closed("the probes went through")
    found = breaker_check()
    assert found.passed
    changes = found.metadata["changes"]
    assert isinstance(changes, dg.TableMetadataValue)
    assert [record.data["state"] for record in changes.records] == ["closed", "open"]
    state = session_state(engine, play.shop(), play.now)
    assert state["breaker_open_since"] is None
    assert [change["why"] for change in state["breaker_changes"]] == [
        "the probes went through",
        "20 of 20 calls failed",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"app_secret": "wrong"}, "app_secret"),
        ({"session_key": "6100wrong"}, "session_key"),
        ({"gateway_url": "http://127.0.0.1:9/router/rest"}, "gateway"),
    ],
)
def test_a_run_names_what_is_wrong_with_a_shop_and_the_remedy(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    play: Play,
    shops: PlayedShops,
    changes: dict[str, str],
    said: str,
) -> None:
    shops.accesses["demo-shop"] = play.access(**changes)
    result = run(defs, "load_history", instance, str(TODAY))
    assert not result.success
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    message = str(failure.step_failure_data.error)
    assert "shop demo-shop" in message
    assert said in message
    assert play.shop().app_secret not in message


def test_a_run_names_a_clock_that_is_off(
    defs: dg.Definitions, instance: dg.DagsterInstance, play: Play, shops: PlayedShops
) -> None:
    shops.accesses["demo-shop"] = play.access(100, timedelta(minutes=11))
    result = run(defs, "load_history", instance, str(TODAY))
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    message = str(failure.step_failure_data.error)
    assert "clock" in message
    assert "NTP" in message


def test_a_run_names_a_warehouse_that_is_away(instance: dg.DagsterInstance, shops: PlayedShops) -> None:
    away = WarehouseResource(database_url="postgresql://me:geheim@127.0.0.1:1/x")
    defs = build_defs(resource_overrides={"warehouse": away, "shops": shops})
    result = run(defs, "load_history", instance, str(TODAY))
    (failure,) = (event for event in result.all_events if event.is_job_failure)
    message = str(failure.job_failure_data.error)
    assert "connecting to the warehouse at postgresql://me:***@127.0.0.1:1/x failed" in message
    assert "check ORDER_PIPELINE_DATABASE_URL" in message
    assert "geheim" not in message


def test_the_nightly_checks_find_what_is_broken(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine
) -> None:
    day = str(TODAY - timedelta(days=1))
    healthy = run(defs, "load_history", instance, day)
    assert all(check.passed for check in healthy.get_asset_check_evaluations())
    with transaction(engine) as connection:
        victims = connection.execute(
            # Changed again on a later day, or the close would bring them back.
            text("SELECT order_id FROM core.orders WHERE modified_at >= :end ORDER BY order_id LIMIT 3"),
            {"end": day_window(TODAY).start},
        ).scalars()
        gone, bare, wrong = victims
        connection.execute(text("DELETE FROM core.orders WHERE order_id = :id"), {"id": gone})
        connection.execute(text("DELETE FROM core.order_items WHERE order_id = :id"), {"id": bare})
        connection.execute(text("UPDATE core.orders SET total_fee = -1 WHERE order_id = :id"), {"id": wrong})
    result = run(defs, "close_day", instance, day)
    red = {check.check_name: check for check in result.get_asset_check_evaluations() if not check.passed}
    assert set(red) == {"keys_hold", "money_adds_up", "counts_hold"}
    assert "an order has lines: broken by 1 row" in str(red["keys_hold"].description)
    assert "a line has its order" in str(red["keys_hold"].description)


def tick(
    defs: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=dict(defs.resources or {})) as context:
        found = orders_sensor(context)
    assert isinstance(found, dg.SensorResult | dg.SkipReason)
    return found


def test_the_sensor_starts_the_first_load_of_a_new_shop(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    found = tick(defs, instance)
    assert isinstance(found, dg.SensorResult)
    assert found.run_requests is not None
    (request,) = found.run_requests
    assert request.job_name == "load_history"
    assert request.tags["dagster/asset_partition_range_end"] == str(TODAY)


def test_the_sensor_says_with_numbers_why_there_is_nothing_to_do(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    pass_over(engine, shops.accesses["demo-shop"])
    play.clock.advance(3600)
    pass_over(engine, shops.accesses["demo-shop"])
    found = tick(defs, instance)
    assert isinstance(found, dg.SkipReason)
    assert found.skip_message is not None
    assert "shop demo-shop: all 0 changes of the last 5 minutes before 13:00:00 are known" in found.skip_message


def test_the_sensor_requests_a_pass_for_a_change_with_a_key_of_its_own(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    pass_over(engine, shops.accesses["demo-shop"])
    play.clock.advance(600)
    pass_over(engine, shops.accesses["demo-shop"])
    play.marketplace.place_order("demo-shop")
    play.clock.advance(20)
    first = tick(defs, instance)
    assert isinstance(first, dg.SensorResult)
    second = tick(defs, instance, first.cursor)
    assert isinstance(second, dg.SensorResult)
    assert first.run_requests is not None
    assert second.run_requests is not None
    assert first.run_requests[0].job_name == "sync_orders"
    assert first.run_requests[0].partition_key == str(TODAY)
    assert first.run_requests[0].run_key != second.run_requests[0].run_key


def test_the_sensor_waits_for_a_run_that_is_at_work(defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
    create_run_for_test(instance, job_name="sync_orders", status=DagsterRunStatus.STARTED)
    found = tick(defs, instance)
    assert isinstance(found, dg.SkipReason)
    assert "is at work" in str(found.skip_message)


def test_first_loads_come_before_changes_and_yesterday_before_today() -> None:
    yesterday = TODAY - timedelta(days=1)
    both = [DueWork((yesterday, TODAY), (), ""), DueWork((), (TODAY,), "")]
    assert [request.job_name for request in run_requests(both, 0)] == ["load_history"]
    (request,) = run_requests([DueWork((), (yesterday, TODAY), "")], 5)
    assert request.tags["dagster/asset_partition_range_start"] == str(yesterday)
    assert str(request.run_key).endswith(":5")


def test_the_daily_close_is_for_yesterday_in_shanghai() -> None:
    at = datetime(2026, 3, 15, 0, 45, tzinfo=SHANGHAI)
    request = daily_close(dg.build_schedule_context(scheduled_execution_time=at))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-03-14"
    assert request.run_config["ops"]["increment_pages"]["config"] == {"whole_day": True}
