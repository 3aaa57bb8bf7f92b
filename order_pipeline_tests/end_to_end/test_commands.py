"""The commands as a stranger uses them: real processes, real databases, exit codes, one-line complaints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from order_pipeline_tests.conftest import Play

PROGRAM = [sys.executable, "-m", "order_pipeline"]
SMALL_DEMO = ["demo", "--demand", "synthetic", "--orders", "400", "--scale", "1", "--live-seconds", "3", "--json"]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def shops_file(folder: Path, play: Play, **changes: str) -> None:
    shop = play.shop(**changes)
    fields = {name: getattr(shop, name) for name in shop.__struct_fields__ if getattr(shop, name) is not None}
    (folder / "shops.yaml").write_text(json.dumps({"shops": [fields]}))


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.usefixtures("project_folder")
def test_the_demo_proves_that_the_tables_equal_the_platform() -> None:
    first = run(*SMALL_DEMO)
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)
    assert (result["lost"], result["duplicated"], result["stale"], result["unknown"]) == (0, 0, 0, 0)
    assert result["proven"] is True
    assert result["orders"] >= 350
    status = json.loads(run("status", "--json").stdout)
    assert status["shops"][0]["shop"] == "demo-shop"
    assert status["shops"][0]["history_days_missing"] == 0
    # The next start goes on with the same shop instead of loading it again.
    second = json.loads(run(*SMALL_DEMO).stdout)
    assert second["proven"] is True
    # By day of creation it asks for the days that the nightly proof compares, no more.
    assert second["calls"].get("taobao.trades.sold.get", 0) <= 8
    (recorded,) = (line for line in run("doctor").stdout.splitlines() if "Dagster's storage" in line)
    assert f"{result['runs'] + second['runs']} runs recorded" in recorded


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_demo_goes_on_at_the_next_start(project_folder: Path, stop: signal.Signals) -> None:
    demo = [*SMALL_DEMO[:3], "--orders", "3000", *SMALL_DEMO[5:]]
    with running(*demo) as process:
        state = project_folder / ".order_pipeline" / "sandbox.json"
        deadline = time.monotonic() + 60
        while not state.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(3)
        process.send_signal(stop)
        said = process.communicate(timeout=60)[0]
    if stop is signal.SIGINT:
        assert process.returncode == 130
        assert "the next start goes on from here" in said
        assert "Traceback" not in said
    result = run(*demo)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["proven"] is True


def test_sync_does_what_is_due_and_backfill_loads_days_again(
    project_folder: Path, play: Play, warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops_file(project_folder, play)
    monkeypatch.setenv("ORDER_PIPELINE_DATABASE_URL", warehouse_url)
    synced = run("sync", "--json")
    # The sandbox's clock is driven and stands in another month, so only the first load is due.
    assert synced.returncode == 0, synced.stderr
    assert json.loads(synced.stdout)["finished"] is True
    assert json.loads(run("status", "--json").stdout)["shops"][0]["details_due"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sync"], "shops.yaml: not there, and no sandbox shop runs"),
        (["backfill", "--from", "2026-02-30", "--to", "2026-03-01"], "'2026-02-30' does not match the format"),
        (["backfill", "--from", "2030-01-01", "--to", "2030-01-02"], "lies in the future"),
        (["backfill", "--from", "2020-01-01", "--to", "2020-01-02"], "the platform lists three months only"),
        (["demo", "--scale", "7"], "is not in the range"),
        (["snyc"], "No such command 'snyc'"),
        (["sandbox", "--host", "0.0.0.0"], "loopback"),
    ],
)
@pytest.mark.usefixtures("project_folder")
def test_a_wrong_call_gets_one_line_and_exit_code_2(arguments: list[str], said: str) -> None:
    refused = run(*arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("variable", "said"),
    [("ORDER_PIPELINE_DATABASE_URL", "connecting to the warehouse"), ("DAGSTER_POSTGRES_URL", "Dagster's storage")],
)
def test_a_database_that_is_away_gets_one_line(
    project_folder: Path, play: Play, warehouse_url: str, variable: str, said: str
) -> None:
    shops_file(project_folder, play)
    addresses = {"ORDER_PIPELINE_DATABASE_URL": warehouse_url, "DAGSTER_POSTGRES_URL": warehouse_url}
    refused = run("sync", **addresses | {variable: "postgresql://me:geheim@127.0.0.1:1/x"})
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "127.0.0.1:1" in refused.stderr
    assert variable in refused.stderr
    assert "geheim" not in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"app_secret": "wrong"}, "app_secret"),
        ({"session_key": "6100wrong"}, "session_key"),
        ({"gateway_url": "http://127.0.0.1:9/router/rest"}, "gateway_url"),
    ],
)
def test_the_doctor_names_the_cause_and_the_remedy(
    project_folder: Path, play: Play, warehouse_url: str, changes: dict[str, str], said: str | None
) -> None:
    shops_file(project_folder, play, **changes)
    looked = run("doctor", "--json", ORDER_PIPELINE_DATABASE_URL=warehouse_url, DAGSTER_POSTGRES_URL=warehouse_url)
    report = json.loads(looked.stdout)
    bad = [finding for finding in report["findings"] if not finding["well"]]
    if said is None:
        assert looked.returncode == 0, report
        assert not bad
    else:
        assert looked.returncode == 1
        assert said in bad[0]["said"]
        assert play.shop().app_secret not in looked.stdout


@pytest.mark.usefixtures("project_folder")
def test_a_taken_port_is_said_to_be_taken(play: Play) -> None:
    port = play.server.url.rsplit(":", 1)[1]
    refused = run("dev", "--port", port, "--demand", "synthetic", "--orders", "50")
    assert refused.returncode == 2
    assert f"--port: {port} is taken" in refused.stderr


@pytest.mark.usefixtures("project_folder")
def test_dev_serves_the_ui_over_the_live_sandbox_and_ends_in_order() -> None:
    with running("dev", "--demand", "synthetic", "--orders", "100") as process:
        assert process.stdout is not None
        url = ""
        while not url:
            line = process.stdout.readline()
            assert line, "dev ended before it said where it is"
            url = next(
                (word.strip("[]") for word in line.split() if word.startswith("http") and "sandbox" not in line), ""
            )
        wait_for(f"{url}/server_info")
        asked = {"query": "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus } } } }"}
        deadline = time.monotonic() + 60
        while True:
            answer = requests.post(f"{url}/graphql", json=asked, timeout=10).json()
            entries = answer["data"]["workspaceOrError"]["locationEntries"]
            if entries and entries[0]["loadStatus"] == "LOADED":
                break
            assert time.monotonic() < deadline, entries
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0


def wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            requests.get(url, timeout=2).raise_for_status()
        except requests.RequestException:
            assert time.monotonic() < deadline, f"{url} did not come up"
            time.sleep(0.3)
        else:
            return
