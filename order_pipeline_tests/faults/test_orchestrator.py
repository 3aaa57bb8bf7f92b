"""The death of what starts runs: daemon, webserver and code server are killed while a backfill is at work."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from pathlib import Path

from order_pipeline.sync.windows import day_of
from order_pipeline_tests.deployment.conftest import ON_DEMAND
from order_pipeline_tests.deployment.observing import (
    Run,
    backfill_status,
    launch_backfill,
    runs,
    until,
    until_equal,
    warehouse,
)
from order_pipeline_tests.deployment.stack import Stack

ORDERS = 3000
RUNS = 16
# What F2 grants: from a kill to the end of the last run that it took with it.
RECLAIM_SECONDS = 120
CHOICES = {
    "POSTGRES_PASSWORD": "s3cr3t0f9",
    "GRAFANA_PASSWORD": "other",
    "SHOPS_FILE": "deploy/sandbox/shops.yaml",
    "SANDBOX_ORDERS": str(ORDERS),
}
# Who dies, once so many runs of the backfill have ended. The last but one is the worst: the runs die, and who would
# notice dies with them.
KILLS = ((1, ("daemon",)), (3, ("webserver",)), (5, ("code",)), (8, ("daemon", "code")), (11, ("daemon", "webserver")))


@ON_DEMAND
def test_a_backfill_outlives_whoever_of_the_orchestrator_is_killed(folder: Path, programs: Path) -> None:
    kills: list[float] = []
    with Stack(folder, programs, "docker-compose.yml", **CHOICES) as stack:
        stack.up("sandbox")
        stack.wait_healthy("sandbox")
        stack.up("webserver", "daemon")
        stack.wait_healthy("webserver")
        engine = warehouse(stack)
        until("the first load is done", lambda: has_succeeded(stack, "load_history"), 300)

        # Every second day, so that each is a run of its own; every detail again, so that there is something to kill.
        today = day_of(datetime.now(UTC))
        days = [str(today - timedelta(days=2 * back)) for back in range(1, RUNS + 1)]
        backfill = launch_backfill(stack, "load_history", days, {"fullinfo_orders": {"refetch": True}})
        for ended, victims in KILLS:
            until(
                f"{ended} runs have ended and one is at work",
                lambda ended=ended: at_work_after(runs_of(stack, backfill), ended),  # type: ignore[misc]
                300,
            )
            for victim in victims:
                stack.kill(victim)
            kills.append(time.time())
            until("the restart policy starts it again", lambda: sum(stack.restarts.values()) >= dead_by_now(kills), 30)
            stack.wait_healthy("code")
            stack.wait_healthy("webserver")
        until("the backfill ends", lambda: backfill_status(stack, backfill) not in ("REQUESTED", "FAILING"), 600)
        status = backfill_status(stack, backfill)
        until("no run is left", lambda: all(run.ended for run in runs_of(stack, backfill)), RECLAIM_SECONDS)
        proof = until_equal(stack, engine, within=300)
        everything = runs(stack)
        engine.dispose()

    of_backfill = [run for run in everything if run.tags.get("dagster/backfill") == backfill]
    lost = [run for run in everything if run.status != "SUCCESS" and run.ended]
    waits = [run.ended - max(kill for kill in kills if kill <= run.ended) for run in lost if run.ended]
    told = {"runs": len(of_backfill), "lost": len(lost), "backfill": status, "orders equal": proof.orders}
    print(json.dumps(told | {"seconds from a kill to its lost runs' end": [round(wait) for wait in waits]}, indent=1))
    # Killing the code server did cost runs; each was failed in time, and its day was loaded by another.
    assert lost
    assert max(waits) <= RECLAIM_SECONDS
    assert {run.status for run in lost} == {"FAILURE"}
    done = {day for run in of_backfill if run.status == "SUCCESS" for day in days_of(run)}
    assert done == {date.fromisoformat(day) for day in days}
    assert list(overlaps(everything)) == []


def test_overlaps_are_found() -> None:
    """The judge of the test above: two runs of a job are at one day at once, or only close after one another."""
    assert list(overlaps([_run("a", 10, 20, "2026-01-02"), _run("b", 20, 30, "2026-01-02")])) == []
    assert list(overlaps([_run("a", 10, 20, "2026-01-02"), _run("b", 15, 30, "2026-01-03")])) == []
    ranged = _run("b", 15, None, "")._replace(
        tags={"dagster/asset_partition_range_start": "2026-01-01", "dagster/asset_partition_range_end": "2026-01-03"}
    )
    assert list(overlaps([_run("a", 10, 20, "2026-01-02"), ranged])) == [("a", "b")]


def overlaps(all_runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of runs of one job and one day that were at work at the same time, as Dagster recorded it."""
    begun = [run for run in all_runs if run.began]
    for one, other in combinations(begun, 2):
        if one.job == other.job and days_of(one) & days_of(other):
            first, second = sorted((one, other), key=lambda run: run.began or 0)
            if first.ended is None or first.ended > (second.began or 0):
                yield first.run_id, second.run_id


def days_of(run: Run) -> set[date]:
    first = run.tags.get("dagster/asset_partition_range_start") or run.tags.get("dagster/partition")
    last = run.tags.get("dagster/asset_partition_range_end") or first
    if not first or not last:
        return set()
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return {start + timedelta(days=number) for number in range((end - start).days + 1)}


def runs_of(stack: Stack, backfill: str) -> list[Run]:
    return [run for run in runs(stack) if run.tags.get("dagster/backfill") == backfill]


def at_work_after(of_backfill: Sequence[Run], ended: int) -> bool:
    statuses = [run.status for run in of_backfill]
    return "STARTED" in statuses and sum(run.ended is not None for run in of_backfill) >= ended


def dead_by_now(kills: Sequence[float]) -> int:
    return sum(len(victims) for _, victims in KILLS[: len(kills)])


def has_succeeded(stack: Stack, job: str) -> bool:
    return any(run.status == "SUCCESS" for run in runs(stack, pipelineName=job))


def _run(name: str, began: float, ended: float | None, day: str) -> Run:
    return Run(name, "load_history", "SUCCESS", began, began, ended, None, {"dagster/partition": day})
