"""docker-compose.celery.yml without Docker: a month's backfill over several workers, of which one is killed."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.deployment.conftest import ON_DEMAND
from order_pipeline_tests.deployment.observing import (
    Run,
    count,
    launch_backfill,
    many_small_runs,
    runs,
    until,
    until_equal,
    warehouse,
)
from order_pipeline_tests.deployment.stack import Stack

pytestmark = [
    ON_DEMAND,
    pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server: apt-get install redis-server"),
]

FILES = ("docker-compose.yml", "docker-compose.celery.yml")
DAYS = 30
WORKERS = 3
# Below what one worker alone could call, so that only a budget shared by all can keep it.
CALLS_PER_MINUTE = 1500
CHOICES = {
    "POSTGRES_PASSWORD": "s3cr3t0f9",
    "GRAFANA_PASSWORD": "other",
    "SHOPS_FILE": "deploy/sandbox/shops.yaml",
    "SANDBOX_ORDERS": "6000",
    "SANDBOX_CALLS_PER_MINUTE": str(CALLS_PER_MINUTE),
}
THROTTLED = "SELECT count(*) FROM sync.call WHERE outcome = 'ThrottledError'"
BUSIEST_MINUTE = """
    SELECT max(calls) FROM (SELECT count(*) OVER (ORDER BY started_at RANGE BETWEEN CURRENT ROW AND
                                                  interval '59.9 seconds' FOLLOWING) AS calls FROM sync.call) AS minutes
"""


def test_a_backfill_of_a_month_survives_the_death_of_a_worker(folder: Path, programs: Path) -> None:
    figures: dict[str, object] = {}
    with Stack(folder, programs, *FILES, **CHOICES) as stack:
        workers = stack.scale("worker", WORKERS)
        stack.up("sandbox")
        stack.wait_healthy("sandbox")
        stack.up("webserver", "daemon", *workers)
        stack.wait_healthy("webserver")
        for worker in workers:
            until(f"{worker} answers", lambda worker=worker: answers(stack, worker), 60)  # type: ignore[misc]

        engine = warehouse(stack)
        last = day_of(datetime.now(UTC))
        days = [str(last - timedelta(days=back)) for back in reversed(range(DAYS))]
        launched = time.monotonic()
        backfill = launch_backfill(stack, "load_history", days)
        # Which worker had which run; Celery forgets it when the run ends.
        seen: dict[str, str] = {}
        until("runs of it are on two workers", lambda: len(at_work(stack, backfill, seen)) >= 2, 180)
        figures["seconds from the button to two workers at work"] = time.monotonic() - launched

        # Everything of one worker dies at once, as with its machine, while a run of the backfill is on it.
        victim, lost = next(iter(at_work(stack, backfill, seen).items()))
        stack.kill(victim)
        killed = time.monotonic()
        until("the lost run is failed", lambda: runs(stack, runIds=[lost.run_id])[0].status == "FAILURE", 120)
        figures["seconds from the kill to the lost run being failed"] = time.monotonic() - killed
        until("it is started again", lambda: any(run.parent == lost.run_id for run in runs(stack)), 120)
        figures["seconds from the kill to its successor"] = time.monotonic() - killed

        until("the backfill is done", lambda: is_done(stack, backfill, seen), 900)
        figures["seconds from the button to the backfill's end"] = time.monotonic() - launched
        figures["runs of the backfill"] = len(backfill_runs(stack, backfill))
        figures["runs by worker"] = {worker: list(seen.values()).count(worker) for worker in workers}
        assert len(set(seen.values())) >= 2
        with transaction(engine) as connection:
            loaded = connection.execute(
                text("SELECT count(*) FROM sync.history_day WHERE day >= :first"), {"first": days[0]}
            ).scalar_one()
        assert loaded == DAYS

        proof = until_equal(stack, engine, within=600)
        figures["orders equal to the platform"] = proof.orders
        figures["seconds from the button to equal tables"] = time.monotonic() - launched
        # One budget for every process that calls: workers, sensors of the code server.
        figures["calls"] = count(engine, "SELECT count(*) FROM sync.call")
        figures["most calls in any minute"] = count(engine, BUSIEST_MINUTE)
        figures["calls refused by the platform's limit"] = count(engine, THROTTLED)
        assert count(engine, THROTTLED) == 0
        figures |= many_small_runs(stack)
        figures["MB"] = {
            name: round(stack.memory_mb(name)) for name, process in stack.processes.items() if process.poll() is None
        }
        for name in ("daemon", "webserver", "code", *workers, "redis", "sandbox", "postgres"):
            stack.stop(name)
        engine.dispose()
    print(json.dumps(figures, indent=1, default=lambda value: round(value, 1)))


def answers(stack: Stack, worker: str) -> bool:
    return stack.run(worker, "celery", "--app", "order_pipeline.launchers.celery_app", "inspect", "ping",
                     "--destination", f"celery@{worker}").returncode == 0  # fmt: skip


def backfill_runs(stack: Stack, backfill: str) -> list[Run]:
    return [run for run in runs(stack) if run.tags.get("dagster/backfill") == backfill]


def worker_of(stack: Stack, run: Run) -> str | None:
    """The worker that took a run, as Celery's own results say."""
    import redis

    task = run.tags.get("dagster-celery/task_id")
    results = redis.Redis.from_url(stack.environment("daemon")["CELERY_RESULT_BACKEND"])
    said = results.get(f"celery-task-meta-{task}")
    told = json.loads(said)["result"] if isinstance(said, bytes) else None
    return str(told["hostname"]).partition("@")[2] if isinstance(told, dict) and "hostname" in told else None


def at_work(stack: Stack, backfill: str, seen: dict[str, str]) -> dict[str, Run]:
    """A run of the backfill on each worker that has one; ``seen`` learns whose is whose."""
    found = {}
    for run in backfill_runs(stack, backfill):
        worker = worker_of(stack, run) if run.status == "STARTED" else None
        if worker:
            found[worker] = run
            seen[run.run_id] = worker
    return found


def is_done(stack: Stack, backfill: str, seen: dict[str, str]) -> bool:
    """Every run of it ended well, or its successor did."""
    at_work(stack, backfill, seen)
    of_backfill = backfill_runs(stack, backfill)
    replaced = {run.parent for run in of_backfill}
    return all(run.status == "SUCCESS" or run.run_id in replaced for run in of_backfill) and len(of_backfill) > 1
