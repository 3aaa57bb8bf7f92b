"""The deployment of docker-compose.yml, without Docker: what it starts, what it survives, how it ends."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import requests

from order_pipeline_tests.deployment.conftest import ON_DEMAND
from order_pipeline_tests.deployment.observing import count, many_small_runs, runs, until, until_equal, warehouse
from order_pipeline_tests.deployment.stack import Stack

pytestmark = ON_DEMAND

ORDERS = 4000
CHOICES = {"GRAFANA_PASSWORD": "other", "SHOPS_FILE": "deploy/sandbox/shops.yaml", "SANDBOX_ORDERS": str(ORDERS)}


def test_killed_in_the_middle_of_a_run_the_stack_recovers_by_itself(folder: Path, programs: Path) -> None:
    figures: dict[str, object] = {}
    with Stack(folder, programs, "docker-compose.yml", POSTGRES_PASSWORD="s3cr3t0f9", **CHOICES) as stack:
        stack.up("sandbox")
        stack.wait_healthy("sandbox")
        began = time.monotonic()
        stack.up("webserver", "daemon")
        stack.wait_healthy("webserver")
        figures["seconds until the UI answers"] = time.monotonic() - began
        if has_metrics(programs):
            stack.up("metrics")
            stack.wait_healthy("metrics")
            assert requests.get(f"{stack.url('metrics')}/metrics", timeout=60).text.startswith("#")

        # The sensor starts the first load; the code server dies while it fetches details.
        engine = warehouse(stack)
        until("the first load is at work", lambda: count(engine, "SELECT count(*) FROM core.orders") > ORDERS / 20, 120)
        (lost,) = runs(stack, statuses=["STARTED"], pipelineName="load_history")
        details = "SELECT count(*) FROM sync.call WHERE method = 'taobao.trade.fullinfo.get'"
        assert count(engine, "SELECT count(*) FROM sync.pending_order") > 0
        stack.kill("code")
        killed = time.monotonic()
        until("the restart policy starts it again", lambda: stack.restarts.get("code", 0) == 1, 30)
        stack.wait_healthy("code")
        figures["seconds from the kill to a healthy code server"] = time.monotonic() - killed
        until(
            "the lost run is failed", lambda: "FAILURE" in {run.status for run in runs(stack, runIds=[lost.run_id])}, 90
        )
        figures["seconds from the kill to the lost run being failed"] = time.monotonic() - killed
        until(
            "it is started again",
            lambda: any(run.parent == lost.run_id and run.status in ("STARTED", "SUCCESS") for run in runs(stack)),
            120,
        )
        figures["seconds from the kill to its successor at work"] = time.monotonic() - killed
        proof = until_equal(stack, engine, within=300)
        figures["seconds from the kill to equal tables"] = time.monotonic() - killed
        figures["orders equal to the platform"] = proof.orders
        figures["details fetched"] = count(engine, details)
        assert proof.orders >= ORDERS * 0.9

        # Nothing else died, and the daemon's own health check is content.
        assert stack.restarts == {"code": 1}
        assert stack.is_healthy("daemon")
        # People's commands work in the containers, and print no password.
        shown = stack.run("code", "order-pipeline", "migrate")
        assert shown.returncode == 0, shown.stderr
        assert "***" in shown.stdout
        assert "s3cr3t0f9" not in shown.stdout
        figures |= many_small_runs(stack)
        figures["MB"] = {name: round(stack.memory_mb(name)) for name in stack.processes if alive(stack, name)}

        # docker compose down: SIGTERM to each first process, and everything ends in order within its grace.
        for name in ("daemon", "webserver", "code", "sandbox", "postgres"):
            figures[f"seconds to stop {name}"] = stack.stop(name)
        for name in stack.processes:
            assert "s3cr3t0f9" not in (folder / f"{name}.log").read_text(), f"{name} logs the password"
        engine.dispose()
    print(json.dumps(figures, indent=1, default=lambda value: round(value, 1)))


def alive(stack: Stack, name: str) -> bool:
    return stack.processes[name].poll() is None


def has_metrics(programs: Path) -> bool:
    asked = subprocess.run([programs / "order-pipeline", "metrics", "--help"], capture_output=True, check=False)
    return asked.returncode == 0
