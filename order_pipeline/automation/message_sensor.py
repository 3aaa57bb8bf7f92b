"""What runs because a message came.

Belongs here: reading the queues every few seconds and asking for the details of what they announce. Not here: how
they are read (sync/messages.py), what lists show (sensors.py).

The tick itself reads, stores and confirms, although a sensor should only look. There is no looking: to consume is
the only way to learn whether anything came, and what was consumed and left lying comes again only after minutes. A
run for each look would cost five seconds of processor time to find nothing, most of the time; a tick costs one call
a queue. The first few details it fetches, too: until a run has started, they have long been there. Many are a run's
work, and take as long as they take. The run stays for a while and reads on its own, several times as often
(sync/following.py); the ticks meanwhile find the queue read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter
from sqlalchemy import Engine

from order_pipeline.automation.jobs import load_history, sync_messages, sync_orders
from order_pipeline.automation.requests import request, runs_at_work
from order_pipeline.configuration import ConfigurationError
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.following import QUIET_SECONDS, fetch_soon
from order_pipeline.sync.messages import Reading, read_messages
from order_pipeline.sync.shops import ShopsFailedError
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import DatabaseUnreachableError, transaction
from order_pipeline.warehouse.subjects import SUBJECTS
from order_pipeline.warehouse.worklist import due_within
from order_pipeline.wording import counted

# Dagster looks every five seconds whose turn it is. Were it five here, a tick that began a little late would miss every
# other turn. Twelve calls a minute and queue while nothing comes.
MESSAGE_SECONDS = 4
# A backlog is read for so long; Dagster ends a tick after sixty seconds, and the next one goes on.
TICK_SECONDS = 10.0
# Whatever hangs: calls are over by then, those of the queues and those of the details, and what they did not bring
# comes again. The rest of the minute is for the warehouse.
CALLS_SECONDS = 30.0
DETAIL_CALLS_SECONDS = 15.0
# What a message announced is due at most two seconds after it was published, and a second later by a clock that is
# known badly.
DUE_SOON_SECONDS = 3.0
# More are a run's work.
MOST_DETAILS = 40

# Each of them drains the worklist at its end.
DRAINING = (load_history.name, sync_orders.name, sync_messages.name)
NOTHING = "no details are due"


@dg.sensor(
    job=sync_messages,
    minimum_interval_seconds=MESSAGE_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reads the platform's messages and starts a run for the orders that they announce.",
)
def messages_sensor(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.SensorResult | dg.SkipReason:
    """Read what came, fetch a few details, start a run where they were due and none is at work; say what was found."""
    try:
        accesses = shops.open(warehouse.engine)
        readings = read_messages(accesses, warehouse.engine, seconds=TICK_SECONDS, calls_seconds=CALLS_SECONDS)
        due = _details_due(warehouse.engine, accesses)
    except (ConfigurationError, DatabaseUnreachableError) as error:
        return dg.SkipReason(str(error))
    said = "; ".join(reading.words for reading in readings)
    if any(reading.withdrawn for reading in readings):
        # Said once, and red: no call will be refused that would say it. What is due has its run with the next tick.
        raise dg.Failure(said)
    at_work = runs_at_work(context.instance, DRAINING) if due else []
    if due:
        fetched = _fetch_few(context.instance, accesses, warehouse.engine, due)
        said = f"{fetched}; {said}" if fetched else said
    if due and not at_work:
        counter = int(context.cursor or 0)
        day = day_of_readings(readings)
        narrowed: dict[str, Any] = {"shops": sorted(due)}
        config = {"fullinfo_orders": narrowed | {"linger_seconds": QUIET_SECONDS}, "refunds": narrowed}
        return dg.SensorResult(
            run_requests=[request(sync_messages.name, day, day, counter, config=config)], cursor=str(counter + 1)
        )
    if any(reading.is_alarming for reading in readings):
        raise dg.Failure(said)
    waiting = (
        f"{counted(sum(due.values()), 'order or refund was', 'orders and refunds were')} due, "
        f"run {at_work[0][:8]} is at work"
        if due
        else NOTHING
    )
    return dg.SkipReason(f"{waiting}; {said}")


def _fetch_few(
    instance: dg.DagsterInstance, accesses: Sequence[ShopAccess], engine: Engine, due: Mapping[str, int]
) -> str:
    """Fetch the details that are due or will be in a moment, where they are few and no run follows the messages.

    Returns what came of it in words. What fails stays on the worklist, for the run that is asked for either way.
    """
    if sum(due.values()) > MOST_DETAILS or is_followed(instance):
        return ""
    try:
        followed = fetch_soon(accesses, engine, within_seconds=DUE_SOON_SECONDS, calls_seconds=DETAIL_CALLS_SECONDS)
    except ShopsFailedError as error:
        return str(error)
    loaded = sum(each.drained.loaded for each in (*followed.orders, *followed.refunds))
    return f"{loaded} details were fetched at once"


def is_followed(instance: dg.DagsterInstance) -> bool:
    """Return whether a run is at it that hears messages itself, and has begun."""
    following = RunsFilter(job_name=sync_messages.name, statuses=[DagsterRunStatus.STARTED])
    return bool(instance.get_runs(following, limit=1))


def day_of_readings(readings: Sequence[Reading]) -> date:
    """Return the platform's day (Shanghai); where nothing came, this machine's clock is near enough to name it."""
    told = [reading.received_at for reading in readings if reading.received_at]
    return day_of(max(told, default=datetime.now(UTC)))


def _details_due(engine: Engine, accesses: Sequence[ShopAccess]) -> dict[str, int]:
    """Return how many details are due or will be in a moment, by shop, where there are any."""
    shop_ids = [access.shop.id for access in accesses]
    waiting: Counter[str] = Counter()
    with transaction(engine) as connection:
        for subject in SUBJECTS.values():
            waiting.update(due_within(connection, shop_ids, DUE_SOON_SECONDS, subject=subject))
    # A shop that is left alone is passed over by the drains too: a run for it would change nothing.
    return {
        access.shop.id: waiting[access.shop.id] for access in accesses if waiting[access.shop.id] and not access.hold
    }
