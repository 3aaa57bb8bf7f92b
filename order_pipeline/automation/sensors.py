"""What runs because the lists or the worklist show work.

Belongs here: looking, cheaply, whether there is. Not here: doing it, messages (message_sensor.py).
"""

import time
from collections.abc import Callable, Sequence

import dagster as dg
from sqlalchemy import Engine

from order_pipeline.automation.jobs import load_history, sync_orders, sync_refunds
from order_pipeline.automation.message_sensor import messages_sensor
from order_pipeline.automation.requests import request, runs_at_work
from order_pipeline.configuration import ConfigurationError
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import DueWork, due_refunds, due_work, no_work
from order_pipeline.sync.shops import ShopsFailedError, for_each_shop
from order_pipeline.warehouse.database import DatabaseUnreachableError

# A poll costs one call a shop; the platform's freshness at rest is about this.
POLL_SECONDS = 30
# Messages bring refunds in seconds; the list is for what they leave out. Two calls a shop each time.
REFUND_POLL_SECONDS = 120
# Dagster ends a tick after sixty seconds. Whatever hangs: one shop's calls are over by then, and those of all, so that
# a shop that does not answer takes neither the tick nor the turn of the others.
SHOP_SECONDS, CALLS_SECONDS = 12.0, 40.0
# A look is mostly waiting for the platform: eight at once carry some thousand shops within a tick, and the warehouse
# has connections for twice as many.
SHOPS_AT_ONCE = 8
# Two of these at once would only list the same windows twice. A run for messages is none of them: in a busy shop one
# is nearly always at work.
LISTING = (load_history.name, sync_orders.name)


@dg.sensor(
    jobs=[load_history, sync_orders],
    minimum_interval_seconds=POLL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks each shop whether anything changed; starts the first load of a new shop.",
)
def orders_sensor(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.SensorResult | dg.SkipReason:
    """Start a run where there is work and none is at it; otherwise say what was looked at."""
    return _look(context, warehouse, shops, LISTING, due_work, run_requests)


@dg.sensor(
    jobs=[sync_refunds],
    minimum_interval_seconds=REFUND_POLL_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks each shop whether any refund changed; starts their first load.",
)
def refunds_sensor(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.SensorResult | dg.SkipReason:
    """Start a run where there is work and none is at it; otherwise say what was looked at."""
    return _look(context, warehouse, shops, (sync_refunds.name,), due_refunds, refund_requests)


def _look(
    context: dg.SensorEvaluationContext,
    warehouse: WarehouseResource,
    shops: ShopsResource,
    jobs: Sequence[str],
    due: Callable[[ShopAccess, Engine], DueWork],
    requests_of: Callable[[Sequence[DueWork], int], list[dg.RunRequest]],
) -> dg.SensorResult | dg.SkipReason:
    at_work = runs_at_work(context.instance, jobs)
    if at_work:
        return dg.SkipReason(f"run {at_work[0][:8]} is at work")
    failure: ShopsFailedError | None = None
    try:
        accesses = in_turn(shops.open(warehouse.engine), time.time_ns() // 1_000_000)
        works = for_each_shop(
            accesses,
            warehouse.engine,
            lambda access: due(access, warehouse.engine),
            skipped=no_work,
            seconds=CALLS_SECONDS,
            shop_seconds=SHOP_SECONDS,
            at_once=SHOPS_AT_ONCE,
        )
    except (ConfigurationError, DatabaseUnreachableError) as error:
        return dg.SkipReason(str(error))
    except ShopsFailedError as error:
        failure, works = error, list(error.reports)
    requests = requests_of(works, int(context.cursor or 0))
    if failure and not requests:
        # A red tick is what a person sees. Where the other shops have work, the run for it meets the same, and is red.
        raise dg.Failure(str(failure)) from failure
    if not requests:
        return dg.SkipReason("nothing to do: " + "; ".join(work.explanation for work in works))
    return dg.SensorResult(run_requests=requests, cursor=str(int(context.cursor or 0) + len(requests)))


def in_turn(accesses: Sequence[ShopAccess], turn: int) -> list[ShopAccess]:
    """Return the shops, beginning with the one whose turn it is: whoever comes last may find the time used up. Pure."""
    first = turn % len(accesses) if accesses else 0
    return [*accesses[first:], *accesses[:first]]


def run_requests(works: Sequence[DueWork], counter: int) -> list[dg.RunRequest]:
    """Return the runs for the work found: first loads before changes, oldest day first. Pure.

    The run key carries a counter, as a failed run blocks its key for ever.
    """
    history = sorted({day for work in works for day in work.history_days})
    if history:
        return [request(load_history.name, history[0], history[-1], counter)]
    changed = sorted({day for work in works for day in work.changed_days})
    return [request(sync_orders.name, changed[0], changed[-1], counter)] if changed else []


def refund_requests(works: Sequence[DueWork], counter: int) -> list[dg.RunRequest]:
    """Return the run for the days of refunds that are due: one run, oldest day first. Pure."""
    days = sorted({day for work in works for day in work.changed_days})
    return [request(sync_refunds.name, days[0], days[-1], counter)] if days else []


sensors = [orders_sensor, refunds_sensor, messages_sensor]
