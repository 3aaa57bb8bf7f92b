"""What asks for the day's lists and for the backtest, and a backtest that finds enough to judge by."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import pytest
from sqlalchemy import Engine

from order_pipeline.automation.decisions import (
    daily_restock,
    hourly_ship_list,
    restock_after_inventory,
    weekly_backtest,
)
from order_pipeline.sync.demand import count_demand
from order_pipeline.sync.shipping import make_ship_list
from order_pipeline.sync.windows import SHANGHAI, day_of
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.dagster_project.conftest import PlayedShops, run
from order_pipeline_tests.sync.test_restocking import NOW, SHOP, TODAY, begin, execute, order, stock, store

pytestmark = pytest.mark.parametrize("play", [{"orders": 1, "days": 1}], indirect=True)


@pytest.fixture
def only_shop(play: Play, shops: PlayedShops) -> Iterator[PlayedShops]:
    """The one shop of rows that tests lay down."""
    kept = dict(shops.accesses)
    shops.accesses.clear()
    shops.accesses[SHOP] = play.access(id=SHOP)
    yield shops
    shops.accesses.clear()
    shops.accesses.update(kept)


def after_stock_of(instance: dg.DagsterInstance, day: str | None) -> dg.RunRequest | dg.SkipReason:
    """What is asked for once a run of the job inventory has succeeded."""
    made = dg.DagsterRun(
        job_name="inventory",
        status=dg.DagsterRunStatus.SUCCESS,
        tags={"dagster/partition": day} if day else {"dagster/asset_partition_range_start": "2026-03-01"},
    )
    instance.add_run(made)
    event = dg.DagsterEvent(event_type_value="PIPELINE_SUCCESS", job_name="inventory")
    context = dg.build_run_status_sensor_context("restock_after_inventory", event, instance, made)
    asked = restock_after_inventory(context)
    assert isinstance(asked, dg.RunRequest | dg.SkipReason)
    return asked


@pytest.mark.usefixtures("play")
def test_lists_are_made_after_the_stock_of_today_and_of_no_other_day(instance: dg.DagsterInstance) -> None:
    today = day_of(datetime.now(UTC))
    first, again = (after_stock_of(instance, today.isoformat()) for _ in range(2))
    assert isinstance(first, dg.RunRequest)
    assert isinstance(again, dg.RunRequest)
    assert first.partition_key == today.isoformat()
    # The stock may be taken twice a day, and the lists follow each time.
    assert first.run_key != again.run_key
    assert first.tags["dagster/max_retries"] == "2"
    for other in ((today - timedelta(days=1)).isoformat(), None):
        skipped = after_stock_of(instance, other)
        assert isinstance(skipped, dg.SkipReason)
        assert (other or "several days") in str(skipped.skip_message)


def ask_hourly(defs: dg.Definitions) -> dg.RunRequest | dg.SkipReason:
    # 20:10 in Shanghai is the same day there, and another hour in UTC.
    at = datetime(2026, 3, 15, 20, 10, tzinfo=SHANGHAI)
    with dg.build_schedule_context(scheduled_execution_time=at, resources=dict(defs.resources or {})) as context:
        asked = hourly_ship_list(context)
    assert isinstance(asked, dg.RunRequest | dg.SkipReason)
    return asked


@pytest.mark.usefixtures("only_shop")
def test_a_ship_list_is_asked_for_where_a_paid_line_is_on_none(defs: dg.Definitions, engine: Engine) -> None:
    idle = ask_hourly(defs)
    assert isinstance(idle, dg.SkipReason)
    assert "no paid line waits" in str(idle.skip_message)
    store(engine, order(1), order(2), order(3, status="TRADE_FINISHED"))
    asked = ask_hourly(defs)
    assert isinstance(asked, dg.RunRequest)
    assert asked.partition_key == "2026-03-15"
    assert asked.tags["order_pipeline/reason"] == "2 lines are on no list"
    stock(engine, "tea", 0, reserved=1)
    assert make_ship_list(engine, SHOP, TODAY).lines == 1
    # The other waits for stock, which may come any hour.
    still = ask_hourly(defs)
    assert isinstance(still, dg.RunRequest)
    assert still.tags["order_pipeline/reason"] == "1 line is on no list"


@pytest.mark.usefixtures("play")
@pytest.mark.parametrize("schedule", [daily_restock, weekly_backtest])
def test_the_day_of_a_list_is_the_day_in_shanghai(schedule: dg.ScheduleDefinition) -> None:
    # 06:45 in Shanghai is still yesterday in UTC.
    at = datetime(2026, 3, 16, 6, 45, tzinfo=SHANGHAI).astimezone(UTC)
    asked = schedule(dg.build_schedule_context(scheduled_execution_time=at))
    assert isinstance(asked, dg.RunRequest)
    assert asked.partition_key == "2026-03-16"


SKUS, DAYS = 40, 77


@pytest.mark.usefixtures("only_shop")
def test_a_backtest_over_stored_orders_scores_each_class_and_says_when_forecasts_are_bad(
    defs: dg.Definitions, instance: dg.DagsterInstance, engine: Engine
) -> None:
    random = np.random.default_rng(4)
    pieces = random.poisson(random.gamma(2.0, 1.0, (SKUS, 1)), (SKUS, DAYS))
    sold = [(sku, day) for sku in range(SKUS) for day in range(DAYS) if pieces[sku, day]]
    store(
        engine,
        *(
            order(number, sku=f"tea-{sku:02d}", quantity=int(pieces[sku, day]), days_ago=DAYS - day,
                  status="TRADE_FINISHED")
            for number, (sku, day) in enumerate(sold, 1)
        ),
    )  # fmt: skip
    begin(engine, NOW)
    count_demand(engine, SHOP, [TODAY])
    judged = run(defs, "judge_forecasts", instance, str(TODAY))
    assert judged.success
    verdicts = {each.check_name: each for each in judged.get_asset_check_evaluations()}
    assert verdicts["every_shop_is_judged"].passed
    assert verdicts["forecasts_are_good_enough"].passed, verdicts["forecasts_are_good_enough"].description
    (made,) = judged.asset_materializations_for_node("forecast_backtest")
    figures = {name: entry.value for name, entry in made.metadata.items()}
    scores = {row.demand_class: row for row in execute(engine, "SELECT * FROM bi.forecast_backtest")}
    every = scores.pop("all")
    assert figures[f"wape_{SHOP}"] == pytest.approx(every.wape, abs=1e-4)
    assert every.wape < every.wape_week_before
    assert every.origins == 6
    assert every.forecasts == sum(row.forecasts for row in scores.values()) == SKUS * 6
    # What was sold in the weeks that were judged, from the orders themselves.
    assert every.sold == pieces[:, DAYS - 42 :].sum()

    # Done again over sales that no forecast could see coming, the check says what is wrong.
    execute(engine, "UPDATE core.daily_sku_sales SET quantity = quantity * 3 WHERE day >= :day",
            day=TODAY - timedelta(days=21))  # fmt: skip
    again = run(defs, "judge_forecasts", instance, str(TODAY))
    assert again.success
    (bad,) = (each for each in again.get_asset_check_evaluations() if each.check_name == "forecasts_are_good_enough")
    assert not bad.passed
    assert bad.severity == dg.AssetCheckSeverity.WARN
    assert f"shop {SHOP}: all SKUs: too little is forecast" in str(bad.description)
    # The day's scores are replaced.
    assert execute(engine, "SELECT count(*) FROM bi.forecast_backtest WHERE demand_class = 'all'") == [(1,)]
