"""What each SKU will sell, and how good such forecasts have been, in group ``decisions``.

Belongs here: what the UI sees of it. Not here: forecasting (sync/forecasting.py), what was sold (demand.py).
"""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, NamedTuple, TypeVar

import dagster as dg

from order_pipeline.assets.configs import ShopsConfig
from order_pipeline.assets.demand import ROWS_SHOWN, daily_sku_sales
from order_pipeline.assets.partitions import A_DAY_A_RUN, FRESH_DAILY, daily, partition_days
from order_pipeline.assets.pictures import forecast_picture
from order_pipeline.assets.reports import named_failures, table
from order_pipeline.insights.forecast_verdict import complaints
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.forecasting import UnfitError, judge_forecasts, make_forecast

FRESH_WEEKLY = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=15), warn_window=timedelta(days=8))
PICTURES = 3

Made = TypeVar("Made")


class Unfit(NamedTuple):
    """A shop for which nothing could be made, and what to do."""

    shop: str
    why: str


def for_each_fit(shop_ids: list[str], make: Callable[[str], Made]) -> tuple[list[Made], list[Unfit]]:
    """Make something for every shop; those that are not fit are named and keep nobody waiting."""
    made, unfit = [], []
    for shop_id in shop_ids:
        try:
            made.append(make(shop_id))
        except UnfitError as error:
            unfit.append(Unfit(shop_id, str(error)))
    return made, unfit


def fit_check(name: str, asset: str, unfit: list[Unfit]) -> dg.AssetCheckResult:
    """Say which shops could not be worked for."""
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset,
        passed=not unfit,
        description="; ".join(each.why for each in unfit) or None,
        metadata={"shops": table([each._asdict() for each in unfit])},
    )


@dg.asset(
    deps=[daily_sku_sales],
    partitions_def=daily,
    group_name="decisions",
    owners=["team:order-data"],
    kinds={"postgres", "lightgbm"},
    backfill_policy=A_DAY_A_RUN,
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "bi.demand_forecast"},
    check_specs=[
        dg.AssetCheckSpec(
            "forecast_is_fit_to_buy_by",
            asset="demand_forecast",
            blocking=True,
            description="No forecast is negative, no number, or many times what the shop ever sold.",
        ),
        dg.AssetCheckSpec("every_shop_is_forecast", asset="demand_forecast"),
    ],
)
def demand_forecast(
    context: dg.AssetExecutionContext, config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Sales of each SKU in the 7 days from the day of the run on: mean, quantiles, model, its own error.

    Nothing of that day or later is used. Trained on the whole shop.
    """
    day = _only_day(context)
    with named_failures():
        accesses = shops.open(warehouse.engine, config.shops)
        made, unfit = for_each_fit(
            [access.shop.id for access in accesses], lambda shop_id: make_forecast(warehouse.engine, shop_id, day)
        )
    problems = [each.problem for each in made if each.problem]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(len(each.frame) for each in made),
            "expected_quantity": round(sum(float(each.frame["mean"].sum()) for each in made), 1),
            "shops": table(
                [
                    {
                        "shop": each.shop_id,
                        "model": model,
                        "skus": len(of_model),
                        "expected": round(of_model["mean"].sum()),
                    }
                    for each in made
                    for model, of_model in each.frame.groupby("model")
                ]
            ),
            "largest": table(
                [
                    {"shop": each.shop_id, **_shown(row)}
                    for each in made
                    for row in each.frame.nlargest(ROWS_SHOWN, "mean").to_dict("records")
                ]
            ),
            **{
                f"picture_{each.shop_id.replace('-', '_')}": forecast_picture(each.shop_id, each.panel, each.frame)
                for each in made[:PICTURES]
                if len(each.frame)
            },
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="forecast_is_fit_to_buy_by",
                asset_key="demand_forecast",
                passed=not problems,
                description="; ".join(problems) or None,
            ),
            fit_check("every_shop_is_forecast", "demand_forecast", unfit),
        ],
    )


def _shown(row: dict[Any, Any]) -> dict[str, Any]:
    return {
        "sku": row["sku"], "model": row["model"], "class": row["demand_class"], "mean": round(row["mean"], 2),
        "q50": int(row["q50"]), "q90": int(row["q90"]),
        # What is not a number cannot be shown.
        "own_wape": None if row["own_wape"] != row["own_wape"] else round(row["own_wape"], 2),
    }  # fmt: skip


@dg.asset(
    deps=[daily_sku_sales],
    partitions_def=daily,
    group_name="decisions",
    owners=["team:order-data"],
    kinds={"postgres", "lightgbm"},
    backfill_policy=A_DAY_A_RUN,
    freshness_policy=FRESH_WEEKLY,
    metadata={"dagster/table_name": "bi.forecast_backtest"},
    check_specs=[
        dg.AssetCheckSpec(
            "forecasts_are_good_enough",
            asset="forecast_backtest",
            description="Better than the week before as a forecast, bias within 10 %, the 90 % quantile holds.",
        ),
        dg.AssetCheckSpec("every_shop_is_judged", asset="forecast_backtest"),
    ],
)
def forecast_backtest(
    context: dg.AssetExecutionContext, config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """How good the forecast of the last weeks would have been, shop by shop and by class of demand."""
    day = _only_day(context)
    with named_failures():
        accesses = shops.open(warehouse.engine, config.shops)
        judged, unfit = for_each_fit(
            [access.shop.id for access in accesses],
            lambda shop_id: (shop_id, judge_forecasts(warehouse.engine, shop_id, day)),
        )
    found = [f"shop {shop_id}: {complaint}" for shop_id, scored in judged for complaint in complaints(scored)]
    whole = {shop_id: scored[scored["demand_class"] == "all"].iloc[0] for shop_id, scored in judged}
    figures = {
        f"{name}_{shop_id.replace('-', '_')}": round(float(row[name]), 4)
        for shop_id, row in whole.items()
        for name in ("wape", "wape_week_before", "bias", "coverage", "pinball")
        if row[name] == row[name]
    }
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(len(scored) for _, scored in judged),
            **figures,
            "scores": table(
                [
                    {"shop": shop_id, **{str(name): _rounded(value) for name, value in row.items()}}
                    for shop_id, scored in judged
                    for row in scored.to_dict("records")
                ]
            ),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="forecasts_are_good_enough",
                asset_key="forecast_backtest",
                passed=not found,
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(found) or None,
            ),
            fit_check("every_shop_is_judged", "forecast_backtest", unfit),
        ],
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if value != value else round(value, 3)
    return value


def _only_day(context: dg.AssetExecutionContext) -> date:
    return partition_days(context)[-1]
