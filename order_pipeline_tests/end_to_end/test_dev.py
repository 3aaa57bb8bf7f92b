"""Dagster's UI over the live sandbox, as `order-pipeline dev` starts it, and as the data team sees it in a browser."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import psutil
import pytest
import requests
from playwright.sync_api import expect

from order_pipeline.sync.windows import SHANGHAI
from order_pipeline_tests.conftest import enter_project_folder
from order_pipeline_tests.end_to_end.browser import dagster_ui, find_chromium
from order_pipeline_tests.end_to_end.program import running

GROUPS = ("raw", "orders", "proof", "inventory", "logistics", "decisions")

# A quarter of a minute where nothing else runs; several minutes where ten others do.
START_SECONDS = 240.0

# In a process of its own, as whoever joins the embedded server stops it at the end if nobody else is there.
RENAME_AN_ORDER = """
import sys
from sqlalchemy import text
from order_pipeline import configuration
from order_pipeline.warehouse import embedded
from order_pipeline.warehouse.database import connect, transaction
engine = connect(embedded.start(configuration.home()).warehouse_url)
with transaction(engine) as connection:
    renamed = connection.execute(text('''
        UPDATE core.orders SET order_id = '1234567890123456789'
        WHERE order_id = (SELECT order_id FROM core.orders WHERE created_at < :before ORDER BY created_at DESC LIMIT 1)
    '''), {"before": sys.argv[1]}).rowcount
engine.dispose()
sys.exit(renamed != 1)
"""


class Dev(NamedTuple):
    """A running `order-pipeline dev`."""

    url: str
    process: subprocess.Popen[str]

    def ask(self, query: str) -> Any:
        answer = requests.post(f"{self.url}/graphql", json={"query": query}, timeout=120).json()
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One for all tests here, as each start takes long."""
    with pytest.MonkeyPatch.context() as patch:
        enter_project_folder(tmp_path_factory.mktemp("dev"), patch)
        with running("dev", "--demand", "synthetic", "--orders", "150") as process:
            assert process.stdout is not None
            url = ""
            while not url:
                line = process.stdout.readline()
                assert line, "dev ended before it said where it is"
                url = next(
                    (word.strip("[]") for word in line.split() if word.startswith("http") and "sandbox" not in line),
                    "",
                )
            yield Dev(url, process)


def test_dev_serves_the_ui_over_the_live_sandbox(dev: Dev) -> None:
    until(lambda: is_up(f"{dev.url}/server_info"), START_SECONDS)
    asked = "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"

    def is_loaded() -> bool:
        entries = dev.ask(asked)["workspaceOrError"]["locationEntries"]
        return bool(entries) and entries[0]["loadStatus"] == "LOADED"

    until(is_loaded, START_SECONDS)
    family = psutil.Process(dev.process.pid).children(recursive=True)
    listening = {each.laddr.ip for child in family for each in child.net_connections() if each.status == "LISTEN"}
    # Dagster's UI has no login: nobody but this machine may reach it, nor what stands behind it.
    assert listening
    assert listening <= {"127.0.0.1", "::1"}


def test_in_a_browser_days_are_backfilled_and_a_day_that_differs_is_red(dev: Dev) -> None:
    """Lineage, an asset's partitions, a backfill of three days by date, a red proof: what the README promises."""
    chromium = find_chromium()
    if not chromium:
        pytest.skip("no Chromium: apt-get install chromium, or .venv/bin/playwright install --with-deps chromium")
    until(lambda: count_finished(dev, "load_history") > 0, START_SECONDS)
    today = datetime.now(SHANGHAI).date()
    first, last = today - timedelta(days=12), today - timedelta(days=10)
    with dagster_ui(dev.url, chromium) as ui:
        ui.open_lineage()
        for group in GROUPS:
            expect(ui.seen(re.compile(f"^{group}$"))).to_be_visible()
        # The graph draws what is on the screen only: of the open groups, the leftmost surely is.
        expect(ui.seen("history_pages")).to_be_visible()
        ui.look("lineage")

        ui.materialize("history_pages", f"[{first}...{last}]", "Launch backfill", picture="backfill")
        created = ui.seen(re.compile("Created backfill"))
        expect(created).to_be_visible()
        backfill = dev.ask(
            "{ partitionBackfillsOrError(limit: 1) { ... on PartitionBackfills { results { id partitionNames } } } }"
        )["partitionBackfillsOrError"]["results"][0]
        assert backfill["id"] in (created.text_content() or "")
        assert backfill["partitionNames"] == [str(first + timedelta(days=day)) for day in range(3)]

        ui.open(f"/assets/history_pages?view=partitions&partition={last}")
        expect(ui.seen("orders_listed")).to_be_visible()
        ui.look("partitions")

        ui.open("/assets/fullinfo_orders?view=overview")
        expect(ui.seen("The platform's main order id, as text: 19 digits do not fit a double.")).to_be_visible()
        ui.look("columns")

        make_an_order_that_the_platform_does_not_have(before=today)
        ui.materialize("daily_reconciliation", f"[{today - timedelta(days=8)}...{today - timedelta(days=1)}]", "Launch")
        until(lambda: was_judged(dev, "day_is_equal"), START_SECONDS)
        ui.open("/assets/daily_reconciliation?view=checks&checkDetail=day_is_equal")
        expect(ui.seen("Failed")).to_be_visible()
        expect(ui.seen(re.compile("1 order differs"))).to_be_visible()
        ui.look("red-day")

        # The latest day is drawn, within the metadata.
        ui.open(f"/assets/daily_reconciliation?view=partitions&partition={today - timedelta(days=1)}")
        for drawn in ("arrivals_by_hour", "lag_by_hour"):
            expect(ui.seen(drawn)).to_be_visible()
        ui.look("arrivals")


def test_dev_ends_in_order(dev: Dev) -> None:
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(START_SECONDS) == 0


def make_an_order_that_the_platform_does_not_have(before: date) -> None:
    """No fetching anew mends it, so its day stays red."""
    midnight = datetime.combine(before, datetime.min.time(), SHANGHAI)
    renamed = subprocess.run(
        [sys.executable, "-c", RENAME_AN_ORDER, midnight.isoformat()], capture_output=True, text=True, check=False
    )
    assert renamed.returncode == 0, renamed.stderr


def count_finished(dev: Dev, job: str) -> int:
    found = dev.ask(
        f"{{ runsOrError(filter: {{pipelineName: {json.dumps(job)}, statuses: [SUCCESS]}}) "
        "{ ... on Runs { results { id } } } }"
    )
    return len(found["runsOrError"]["results"])


def was_judged(dev: Dev, check: str) -> bool:
    found = dev.ask("""
        { assetChecksOrError: assetNodeOrError(assetKey: {path: ["daily_reconciliation"]}) { ... on AssetNode {
            assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } }
        } } }
    """)["assetChecksOrError"]["assetChecksOrError"]["checks"]
    executions = {each["name"]: each["executionForLatestMaterialization"] for each in found}
    return executions[check] is not None and executions[check]["status"] != "IN_PROGRESS"


def is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.3)
