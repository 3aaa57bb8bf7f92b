"""Group ``raw``: the platform's messages, which say that an order changed seconds after it did.

Belongs here: reading the queues and counting what came. Not here: lists (assets/pages.py), details
(assets/orders.py).
"""

from collections.abc import Sequence
from datetime import date

import dagster as dg
from sqlalchemy import Engine

from order_pipeline.assets.configs import ShopsConfig
from order_pipeline.assets.pages import BACKFILL
from order_pipeline.assets.partitions import daily, partition_days
from order_pipeline.assets.reports import named_failures, table
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.messages import Reading, read_messages
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.messages import MessageCount, count_messages
from order_pipeline.wording import counted


@dg.asset(
    partitions_def=daily,
    group_name="raw",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=BACKFILL,
    metadata={"dagster/table_name": "raw.message"},
    check_specs=[
        dg.AssetCheckSpec("queues_are_read", asset="order_messages"),
        dg.AssetCheckSpec("every_message_was_read", asset="order_messages"),
    ],
)
def order_messages(
    context: dg.AssetExecutionContext, config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Messages of the platform by day of publication (Asia/Shanghai), and the orders they announce.

    A run reads whatever waits in the queues, and counts the messages of its days, which the sensor has mostly read
    before. A queue that cannot be read turns a check yellow and stops nothing: the lists bring the same changes.
    """
    with named_failures():
        accesses = shops.open(warehouse.engine, config.shops)
        readings = read_messages(accesses, warehouse.engine)
        counts = _count(warehouse.engine, readings, partition_days(context))
    return _result(readings, counts)


def _count(engine: Engine, readings: Sequence[Reading], days: Sequence[date]) -> list[MessageCount]:
    shop_ids = [access.shop.id for reading in readings for access in reading.queue.accesses]
    with transaction(engine) as connection:
        return count_messages(connection, shop_ids, [reading.queue.app_key for reading in readings], days)


def _result(readings: Sequence[Reading], counts: Sequence[MessageCount]) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Report the reading and the days: totals that plot, a row a queue, a row a topic."""
    unreadable = sum(count.unreadable for count in counts)
    troubled = [reading.words for reading in readings if not reading.is_well]
    lags = [reading.lag_seconds for reading in readings if reading.lag_seconds is not None]
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": sum(count.messages for count in counts),
            "messages_new": sum(reading.new for reading in readings),
            "orders_announced": sum(reading.announced for reading in readings),
            "refunds_announced": sum(reading.refunds_announced for reading in readings),
            "messages_of_unknown_topics": sum(count.messages for count in counts if not count.known_topic),
            "messages_of_unknown_sellers": sum(count.messages for count in counts if count.shop_id is None),
            "messages_unreadable": unreadable,
            "messages_redelivered": sum(count.redelivered for count in counts),
            "calls": sum(reading.calls for reading in readings),
            "seconds": round(sum(reading.seconds for reading in readings), 3),
            "message_lag_seconds": round(max(lags, default=0.0), 3),
            "queues": table([_queue_row(reading) for reading in readings]),
            "topics": table([count._asdict() for count in counts]),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="queues_are_read",
                asset_key="order_messages",
                passed=not troubled,
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(troubled) or None,
            ),
            dg.AssetCheckResult(
                check_name="every_message_was_read",
                asset_key="order_messages",
                passed=unreadable == 0,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{counted(unreadable, 'message')} "
                f"could not be read; raw.message has them with the reason, the lists "
                "bring what they meant"
                if unreadable
                else None,
                metadata={"messages_unreadable": unreadable},
            ),
        ],
    )


def _queue_row(reading: Reading) -> dict[str, object]:
    return {
        "queue": reading.queue.name,
        "shops": ", ".join(access.shop.id for access in reading.queue.accesses),
        "delivered": reading.delivered,
        "new": reading.new,
        "announced": reading.announced,
        "lag_seconds": reading.lag_seconds,
        "calls": reading.calls,
        "said": reading.words,
    }
