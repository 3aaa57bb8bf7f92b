"""The nightly proof as Dagster runs it: red and green checks, the days it is asked for, what status says of it."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg
from sqlalchemy import Engine, text

from order_pipeline.automation.schedules import nightly_reconciliation
from order_pipeline.commands.status import gather
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.windows import SHANGHAI
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.proofs import ProofRow, store_proof
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.dagster_project.conftest import PlayedShops, run
from order_pipeline_tests.proving import pass_over

TODAY = NOON.date()
YESTERDAY = TODAY - timedelta(days=1)


def load(engine: Engine, play: Play, shops: PlayedShops) -> None:
    pass_over(engine, shops.accesses["demo-shop"])
    play.clock.advance(60)
    pass_over(engine, shops.accesses["demo-shop"])
    play.clock.advance(4)


def execute(engine: Engine, statement: str) -> None:
    with transaction(engine) as connection:
        connection.execute(text(statement))


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def total(result: dg.ExecuteInProcessResult, figure: str) -> int:
    """The sum of a figure over the days of a run."""
    values = [proof.metadata[figure].value for proof in result.asset_materializations_for_node("daily_reconciliation")]
    return sum(value for value in values if isinstance(value, int))


def test_a_week_is_proven_in_one_run_and_what_was_lost_is_mended(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    load(engine, play, shops)
    with transaction(engine) as connection:
        orders = connection.execute(
            text("SELECT count(*) FROM core.orders WHERE created_at < :today"),
            {"today": datetime.combine(TODAY, datetime.min.time(), SHANGHAI)},
        ).scalar()
        deleted = connection.execute(
            text("""
                DELETE FROM core.orders WHERE order_id IN
                    (SELECT order_id FROM core.orders WHERE created_at < :today ORDER BY order_id LIMIT 15)
            """),
            {"today": datetime.combine(TODAY, datetime.min.time(), SHANGHAI)},
        ).rowcount
    result = run(defs, "reconcile", instance, str(TODAY - timedelta(days=8)), str(YESTERDAY))
    assert result.success
    assert total(result, "orders_expected") == orders
    assert total(result, "orders_missing") == deleted > 0
    assert total(result, "orders_refilled") == deleted
    assert total(result, "days_red") == total(result, "orders_unsettled") == 0
    # Each day with its own numbers.
    with transaction(engine) as connection:
        by_day = dict(connection.execute(text("SELECT day::text, expected FROM bi.reconciliation")).tuples().all())
    assert len(by_day) == 8
    assert by_day == {
        proof.partition: proof.metadata["orders_expected"].value
        for proof in result.asset_materializations_for_node("daily_reconciliation")
    }
    assert all(check.passed for check in checks(result).values())
    # The latest day is drawn.
    for proof in result.asset_materializations_for_node("daily_reconciliation"):
        pictures = [
            proof.metadata[name].value for name in ("arrivals_by_hour", "lag_by_hour") if name in proof.metadata
        ]
        assert len(pictures) == (2 if proof.partition == str(YESTERDAY) else 0)
        assert all(str(picture).startswith("![") and "data:image/png;base64," in str(picture) for picture in pictures)
    again = run(defs, "reconcile", instance, str(YESTERDAY))
    assert total(again, "calls") <= 5


def test_the_check_stays_red_until_the_day_is_equal_whatever_else_is_proven(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    load(engine, play, shops)
    execute(
        engine,
        """
        UPDATE core.orders SET order_id = '1234567890123456789'
        WHERE order_id = (SELECT order_id FROM core.orders WHERE created_at < '2026-03-13 12:00+08' LIMIT 1)
        """,
    )
    first, last = str(TODAY - timedelta(days=5)), str(TODAY - timedelta(days=2))
    red = run(defs, "reconcile", instance, first, last)
    # Blocking: nothing that is built on the proof runs, and the run is red.
    assert not red.success
    equal = checks(red)["day_is_equal"]
    assert not equal.passed
    assert equal.blocking
    assert equal.severity == dg.AssetCheckSeverity.ERROR
    assert "shop demo-shop, 2026-03-1" in str(equal.description)
    assert "1 order differs" in str(equal.description)
    # Other days are right, and the check is about them all.
    still = run(defs, "reconcile", instance, str(YESTERDAY))
    assert not checks(still)["day_is_equal"].passed
    (status,) = gather(engine, ["demo-shop"], NOON)["shops"]
    assert status["days_red"] == 1
    assert status["last_proven_day"] == str(YESTERDAY)
    execute(engine, "DELETE FROM core.orders WHERE order_id = '1234567890123456789'")
    green = run(defs, "reconcile", instance, first, last)
    assert green.success
    assert checks(green)["day_is_equal"].passed
    assert gather(engine, ["demo-shop"], NOON)["shops"][0]["days_red"] == 0


def test_orders_in_quarantine_are_named_and_keep_the_run_red(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    play.marketplace.faults.switch_on(
        Fault(name="poison", rate=0.1, seed=2, kind="money_text", method="taobao.trade.fullinfo.get")
    )
    load(engine, play, shops)
    red = checks(run(defs, "reconcile", instance, str(YESTERDAY)))["day_is_equal"]
    assert not red.passed
    assert "in quarantine" in str(red.description)
    play.marketplace.faults.clear()
    play.clock.advance(60)
    assert checks(run(defs, "reconcile", instance, str(YESTERDAY)))["day_is_equal"].passed


def store(engine: Engine, days_ago: int, expected: int) -> None:
    row = ProofRow(
        "demo-shop",
        YESTERDAY - timedelta(days=days_ago),
        expected,
        expected,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        4,
        0.1,
        True,
        True,
        {},
    )
    with transaction(engine) as connection:
        store_proof(connection, row)


def test_a_silent_day_among_busy_ones_is_flagged_although_the_tables_are_just_as_empty(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    for days_ago in range(1, 8):
        store(engine, days_ago, 60)
    play.marketplace.faults.switch_on(Fault(name="empty_page", kind="list"))
    result = run(defs, "reconcile", instance, str(YESTERDAY))
    assert result.success
    assert checks(result)["day_is_equal"].passed
    quiet = checks(result)["day_is_as_busy_as_usual"]
    assert not quiet.passed
    assert quiet.severity == dg.AssetCheckSeverity.WARN
    assert "shop demo-shop, 2026-03-14: the platform says 0 orders" in str(quiet.description)
    play.marketplace.faults.clear()
    load(engine, play, shops)
    assert checks(run(defs, "reconcile", instance, str(YESTERDAY)))["day_is_as_busy_as_usual"].passed


def test_the_nightly_proof_is_for_yesterday_and_the_week_before_in_shanghai(defs: dg.Definitions) -> None:
    at = datetime(2026, 3, 15, 2, 0, tzinfo=SHANGHAI)
    request = nightly_reconciliation(dg.build_schedule_context(scheduled_execution_time=at))
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key is None
    assert request.tags["dagster/asset_partition_range_start"] == "2026-03-07"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-03-14"
    schedule = defs.resolve_schedule_def("nightly_reconciliation")
    assert schedule.cron_schedule == "0 2 * * *"
    assert schedule.job_name == "reconcile"


def test_a_shop_that_fails_is_named_and_the_others_are_proven(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, play: Play, shops: PlayedShops
) -> None:
    load(engine, play, shops)
    shops.accesses["expired"] = play.access(id="expired", session_key="6100wrong")
    try:
        result = run(defs, "reconcile", instance, str(YESTERDAY))
    finally:
        del shops.accesses["expired"]
    assert not result.success
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "1 of 2 shops failed: shop expired" in str(failure.step_failure_data.error)
    (good,) = gather(engine, ["demo-shop"], NOON)["shops"]
    assert good["last_proven_day"] == str(YESTERDAY)
