"""The demo as a stranger runs it: it proves its tables, and whatever stops it, the next start goes on."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import requests

from order_pipeline.resources.addresses import SANDBOX_FILE
from order_pipeline_tests.end_to_end.program import PATIENCE_SECONDS, run, running

SMALL_DEMO = ["demo", "--demand", "synthetic", "--orders", "400", "--scale", "1", "--live-seconds", "3", "--json"]


def details_fetched(folder: Path, earlier: set[int]) -> int:
    """Ask the sandbox of a demo how much of its first load is done; 0: it is not there yet, only an earlier one's."""
    try:
        told = json.loads((folder / ".order_pipeline" / SANDBOX_FILE).read_text())
        if told["pid"] in earlier:
            return 0
        statistics = requests.get(f"{told['url']}/sandbox/statistics", timeout=60).json()
    except (OSError, ValueError):
        return 0
    return int(statistics["calls"].get("taobao.trade.fullinfo.get", 0))


@pytest.mark.usefixtures("project_folder")
def test_the_demo_proves_that_the_tables_equal_the_platform() -> None:
    first = run(*SMALL_DEMO)
    assert first.returncode == 0, first.stdout + first.stderr
    result = json.loads(first.stdout)
    assert (result["lost"], result["duplicated"], result["stale"], result["unknown"]) == (0, 0, 0, 0)
    assert result["refunds"] > 0
    off = ("refunds_lost", "refunds_duplicated", "refunds_stale", "refunds_unknown", "refund_days_red")
    assert {result[name] for name in off} == {0}
    assert result["proven"] is True
    assert result["orders"] >= 350
    # A stranger finds decisions, not empty tables: the shop sells, so that something is to be bought and to be sent.
    assert result["decisions"]["to_buy"] > 0
    assert result["decisions"]["to_send"] > 0
    status = json.loads(run("status", "--json").stdout)
    assert status["shops"][0]["shop"] == "demo-shop"
    assert status["shops"][0]["history_days_missing"] == 0
    assert status["shops"][0]["skus_to_buy"] == result["decisions"]["to_buy"]
    # The next start goes on with the same shop instead of loading it again.
    again = run(*SMALL_DEMO)
    assert again.returncode == 0, again.stdout + again.stderr
    second = json.loads(again.stdout)
    assert second["proven"] is True
    # By day of creation it asks for the days that the nightly proof compares, no more.
    assert second["calls"].get("taobao.trades.sold.get", 0) <= 8
    (recorded,) = (line for line in run("doctor").stdout.splitlines() if "Dagster's storage" in line)
    assert f"{result['runs'] + second['runs']} runs recorded" in recorded


def test_an_interrupted_demo_goes_on_at_the_next_start(project_folder: Path) -> None:
    demo = [*SMALL_DEMO[:3], "--orders", "700", *SMALL_DEMO[5:]]
    announced = project_folder / ".order_pipeline" / SANDBOX_FILE
    earlier: set[int] = set()
    for stop in (signal.SIGKILL, signal.SIGINT):
        with running(*demo) as process:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while details_fetched(project_folder, earlier) < 100:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            earlier.add(json.loads(announced.read_text())["pid"])
            process.send_signal(stop)
            said = process.communicate(timeout=PATIENCE_SECONDS)[0]
    assert process.returncode == 130
    assert "the next start goes on from here" in said
    assert "Traceback" not in said
    result = run(*demo)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["proven"] is True
