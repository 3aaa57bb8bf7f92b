"""Group ``logistics``: where parcels are, and which of them are stuck.

Belongs here: what following parcels and judging them tells the UI. Not here: doing it (sync/shipment_traces.py,
sync/alerting.py), the rules (insights/stalls.py).
"""

from collections.abc import Sequence
from functools import partial

import dagster as dg

from order_pipeline.assets.configs import ShopsConfig
from order_pipeline.assets.orders import fullinfo_orders
from order_pipeline.assets.partitions import FRESH_DAILY, daily
from order_pipeline.assets.refunds import refunds
from order_pipeline.assets.reports import named_failures, table
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.alerting import Alerting, judge_parcels
from order_pipeline.sync.insight_settings import stall_settings
from order_pipeline.sync.shipment_traces import Following, follow_parcels
from order_pipeline.sync.shops import for_each_shop
from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.logistics_alerts import longest_waiting, open_by_rule
from order_pipeline.warehouse.parcels import count_parcels, parcel_rows
from order_pipeline.wording import counted

PREVIEWED = 10
# Own carriers are a few in a hundred parcels; with more than a fifth unknown, silence says little about the rest.
MOST_UNKNOWN = 0.2
# Fewer parcels than these make no share.
FEWEST_MOVING = 10
# Questions of one run that go unanswered: a few always do.
MOST_UNANSWERED = 0.5


@dg.asset(
    deps=[fullinfo_orders, refunds],
    partitions_def=daily,
    group_name="logistics",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "core.parcel"},
    check_specs=[
        dg.AssetCheckSpec(
            "traces_are_answered", asset="shipment_traces", description="The platform answers questions about parcels."
        ),
        dg.AssetCheckSpec(
            "parcels_have_numbers", asset="shipment_traces", description="Whatever was sent can be followed."
        ),
    ],
)
def shipment_traces(config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Where every parcel is that may still move, asked at most once an hour, the least recently checked first.

    The day is that of the run: what is known of parcels is always what is known now.
    """
    engine = warehouse.engine

    def follow(access: ShopAccess) -> Following:
        return follow_parcels(access, engine)

    with named_failures():
        accesses = shops.open(engine, config.shops)
        followings = for_each_shop(accesses, engine, follow)
    shop_ids = [access.shop.id for access in accesses]
    with transaction(engine) as connection:
        count = count_parcels(connection, shop_ids)
        heard_of = parcel_rows(connection, shop_ids, PREVIEWED)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": count,
            "parcels_asked": sum(each.asked for each in followings),
            "parcels_moved": sum(each.moved for each in followings),
            "without_trace": sum(each.without_trace for each in followings),
            "parcels_left": sum(each.left for each in followings),
            "events_unreadable": sum(each.unreadable for each in followings),
            "calls": sum(each.calls for each in followings),
            "seconds": round(sum(each.seconds for each in followings), 3),
            "shops": table(
                [
                    {
                        "shop": each.shop_id,
                        "asked": each.asked,
                        "answered": each.answered,
                        "without trace": each.without_trace,
                        "moved": each.moved,
                        "left": each.left,
                        "stopped": each.stopped,
                        "calls": each.calls,
                        "seconds": round(each.seconds, 3),
                    }
                    for each in followings
                ]
            ),
            "preview": table(heard_of),
        },
        check_results=[_answered(followings), _numbers(followings)],
    )


@dg.asset(
    deps=[shipment_traces],
    partitions_def=daily,
    group_name="logistics",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "bi.logistics_alerts"},
    check_specs=[
        dg.AssetCheckSpec(
            "parcels_are_known", asset="logistics_alerts", description="Of most parcels it is known where they are."
        ),
        dg.AssetCheckSpec(
            "trace_interface_is_alive",
            asset="logistics_alerts",
            description="Something was answered about parcels lately; without it no alert is raised.",
        ),
    ],
)
def logistics_alerts(config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Parcels that are stuck, by the rules S1 to S7: one alert a parcel and episode, each with a follow-up.

    Derived from the tables; the settings are in insights.yaml.
    """
    engine = warehouse.engine
    with named_failures():
        settings = stall_settings()
        shop_ids = [access.shop.id for access in shops.open(engine, config.shops)]
        found = [
            in_transaction(engine, partial(judge_parcels, shop_id=shop_id, settings=settings)) for shop_id in shop_ids
        ]
    with transaction(engine) as connection:
        by_rule = open_by_rule(connection, shop_ids)
        waiting = longest_waiting(connection, shop_ids, PREVIEWED)
    ahead = [{"shop": each.shop_id, "tracking_number": number} for each in found for number in each.ahead]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(row["alerts"] for row in by_rule),
            "parcels_judged": sum(each.judged for each in found),
            "alerts_opened": sum(sum(each.opened.values()) for each in found),
            "alerts_closed": sum(each.closed for each in found),
            "clocks_ahead": len(ahead),
            **({"ahead": table(ahead[:PREVIEWED])} if ahead else {}),
            "open": table(by_rule),
            "longest": table(waiting),
        },
        check_results=[_known(found), _alive(found)],
    )


def _answered(followings: Sequence[Following]) -> dg.AssetCheckResult:
    problems = [
        f"shop {each.shop_id}: {each.answered} of {each.asked} questions were answered, "
        f"{counted(each.left, 'parcel is', 'parcels are')} left" + (f": {each.stopped}" if each.stopped else "")
        for each in followings
        if each.stopped or each.asked - each.answered > MOST_UNANSWERED * each.asked
    ]
    return dg.AssetCheckResult(
        check_name="traces_are_answered",
        asset_key="shipment_traces",
        passed=not problems,
        # An hour later everything is asked again.
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(problems) or None,
        metadata={"unanswered": sum(each.asked - each.answered for each in followings)},
    )


def _numbers(followings: Sequence[Following]) -> dg.AssetCheckResult:
    nameless = [order for each in followings for order in each.nameless]
    rows = [
        {
            "shop": order.shop_id,
            "order": order.order_id,
            "lines": ", ".join(order.item_ids),
            "company": order.company,
            "shipped_at": order.shipped_at,
            "remedy": "enter the waybill at the platform; nothing tells of this parcel until then",
        }
        for order in nameless
    ]
    return dg.AssetCheckResult(
        check_name="parcels_have_numbers",
        asset_key="shipment_traces",
        passed=not nameless,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{counted(len(nameless), 'order was', 'orders were')} sent without a waybill that could be one"
        if nameless
        else None,
        metadata={"orders": len(nameless), **({"sample": table(rows[:100])} if rows else {})},
    )


def _known(found: Sequence[Alerting]) -> dg.AssetCheckResult:
    followed = [each.followed for each in found if each.followed]
    problems = [
        f"shop {each.shop_id}: of {each.moving} parcels on their way nothing is known of {each.unknown} (carriers that "
        f"the platform does not follow, or questions without an answer)"
        for each in followed
        if each.moving >= FEWEST_MOVING and each.unknown > MOST_UNKNOWN * each.moving
    ]
    return dg.AssetCheckResult(
        check_name="parcels_are_known",
        asset_key="logistics_alerts",
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(problems) or None,
        metadata={
            "moving": sum(each.moving for each in followed),
            "unknown": sum(each.unknown for each in followed),
        },
    )


def _alive(found: Sequence[Alerting]) -> dg.AssetCheckResult:
    silent = [f"shop {each.shop_id}: {each.silent}" for each in found if each.silent]
    return dg.AssetCheckResult(
        check_name="trace_interface_is_alive",
        asset_key="logistics_alerts",
        passed=not silent,
        description="; ".join(silent) or None,
        metadata={"silent_shops": len(silent)},
    )
