"""What one sees of a running stack from outside: its runs, its tables against the platform, its calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from order_pipeline.commands.proof import Proof, compare, read_truth
from order_pipeline.configuration import with_driver
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.sync.windows import HISTORY_DAYS, day_of, day_window
from order_pipeline.warehouse.database import connect, snapshot, transaction
from order_pipeline_tests.deployment.stack import Stack

RUNS = """query Runs($filter: RunsFilter) { runsOrError(filter: $filter, limit: 500) { ... on Runs { results {
    runId jobName status creationTime startTime endTime parentRunId tags { key value } } } } }"""
BACKFILL = """mutation Backfill($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL_STATUS = """query Status($id: String!) { partitionBackfillOrError(backfillId: $id) {
    __typename ... on PartitionBackfill { status } } }"""
SELECTOR = {"repositoryLocationName": "order_pipeline", "repositoryName": "__repository__"}

LAUNCH = """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
SMALL_RUNS = 24


class Run(NamedTuple):
    """A run as Dagster's own API shows it; times in seconds since 1970."""

    run_id: str
    job: str
    status: str
    created: float
    began: float | None
    ended: float | None
    parent: str | None
    tags: dict[str, str]


def runs(stack: Stack, **filters: Any) -> list[Run]:
    """The runs, newest first."""
    found = stack.graphql(RUNS, filter=filters)["runsOrError"]["results"]
    return [
        Run(
            run["runId"],
            run["jobName"],
            run["status"],
            run["creationTime"],
            run["startTime"],
            run["endTime"],
            run["parentRunId"],
            {tag["key"]: tag["value"] for tag in run["tags"]},
        )
        for run in found
    ]


def launch_backfill(stack: Stack, job: str, days: list[str], config: dict[str, dict[str, Any]] | None = None) -> str:
    """Ask for a backfill as the UI's button does; return its id. ``config``: run configuration by asset."""
    params = {
        "selector": {"repositorySelector": SELECTOR, "partitionSetName": f"{job}_partition_set"},
        "partitionNames": days,
        "runConfigData": {"ops": {asset: {"config": values} for asset, values in (config or {}).items()}},
    }
    answer = stack.graphql(BACKFILL, params=params)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return str(answer["backfillId"])


def backfill_status(stack: Stack, backfill: str) -> str:
    """Return what Dagster says of a backfill: REQUESTED while it is at it."""
    answer = stack.graphql(BACKFILL_STATUS, id=backfill)["partitionBackfillOrError"]
    assert answer["__typename"] == "PartitionBackfill", answer
    return str(answer["status"])


def many_small_runs(stack: Stack) -> dict[str, object]:
    """Launch runs that find next to nothing to do, all at once: what a run costs, whatever is in it."""
    day = str(day_of(datetime.now(UTC)))
    launched = time.time()
    for _ in range(SMALL_RUNS):
        params = {
            "selector": SELECTOR | {"jobName": "sync_messages"},
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": day}, {"key": "small", "value": "1"}]},
        }
        answer = stack.graphql(LAUNCH, params=params)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer

    def ended() -> list[Run]:
        return [run for run in runs(stack, tags=[{"key": "small", "value": "1"}]) if run.ended is not None]

    until("the small runs end", lambda: len(ended()) == SMALL_RUNS, 600)
    found = ended()
    assert {run.status for run in found} == {"SUCCESS"}
    work = sorted(run.ended - run.began for run in found if run.ended and run.began)
    first = min(run.began - run.created for run in found if run.began)
    return {
        "small runs a minute": SMALL_RUNS * 60 / (max(run.ended or 0 for run in found) - launched),
        "seconds from launch to start, of the first": first,
        "seconds from start to end, middle": work[len(work) // 2],
    }


def warehouse(stack: Stack) -> Engine:
    """The warehouse, by the very address that the services have."""
    return connect(with_driver(stack.environment("code")["ORDER_PIPELINE_DATABASE_URL"]))


def count(engine: Engine, query: str) -> int:
    with transaction(engine) as connection:
        return int(connection.execute(text(query)).scalar_one())


def until(what: str, condition: Callable[[], Any], within: float) -> float:
    """Wait for a condition; return how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within, f"{what}: not within {within:.0f} s"
        time.sleep(0.5)
    return time.monotonic() - began


def until_equal(stack: Stack, engine: Engine, within: float) -> Proof:
    """Wait until every order that the platform knows now is in the tables as it is, or as it became since."""
    deadline = time.monotonic() + within
    # Orders from before the first load's reach are there only if they changed since.
    since = f"{day_window(day_of(datetime.now(UTC)) - timedelta(days=HISTORY_DAYS - 1)).start:%F %T}"
    before = read_truth(stack.url("sandbox"), DEMO_SHOP.id, created_from=since)
    while True:
        after = read_truth(stack.url("sandbox"), DEMO_SHOP.id)
        with snapshot(engine) as connection:
            found = compare(connection, DEMO_SHOP.id, before, after)
        if found.equal:
            return found
        assert time.monotonic() < deadline, found.examples
        time.sleep(2)
