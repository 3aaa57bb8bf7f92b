"""What runs because the lists or the worklist show work.

Belongs here: looking, cheaply, whether there is. Not here: doing it, messages (message_sensor.py).
"""

from collections.abc import Sequence

import dagster as dg

from order_pipeline.automation.jobs import load_history, sync_orders
from order_pipeline.automation.message_sensor import messages_sensor
from order_pipeline.automation.requests import request, runs_at_work
from order_pipeline.configuration import ConfigurationError
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.due import DueWork, due_work, no_work
from order_pipeline.sync.shops import ShopsFailedError, for_each_shop
from order_pipeline.warehouse.database import DatabaseUnreachableError

# A poll costs one call a shop; the platform's freshness at rest is about this.
POLL_SECONDS = 15
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
    at_work = runs_at_work(context.instance, LISTING)
    if at_work:
        return dg.SkipReason(f"run {at_work[0][:8]} is at work")
    try:
        works = for_each_shop(
            shops.open(warehouse.engine),
            warehouse.engine,
            lambda access: due_work(access, warehouse.engine),
            skipped=no_work,
        )
    except (ConfigurationError, DatabaseUnreachableError) as error:
        return dg.SkipReason(str(error))
    except ShopsFailedError as error:
        # A red tick is what a person sees; the shops that answered are looked at again in a moment.
        raise dg.Failure(str(error)) from error
    requests = run_requests(works, int(context.cursor or 0))
    if not requests:
        return dg.SkipReason("nothing to do: " + "; ".join(work.explanation for work in works))
    return dg.SensorResult(run_requests=requests, cursor=str(int(context.cursor or 0) + len(requests)))


def run_requests(works: Sequence[DueWork], counter: int) -> list[dg.RunRequest]:
    """Return the runs for the work found: first loads before changes, oldest day first. Pure.

    The run key carries a counter, as a failed run blocks its key for ever.
    """
    history = sorted({day for work in works for day in work.history_days})
    if history:
        return [request(load_history.name, history[0], history[-1], counter)]
    changed = sorted({day for work in works for day in work.changed_days})
    return [request(sync_orders.name, changed[0], changed[-1], counter)] if changed else []


sensors = [orders_sensor, messages_sensor]
