"""Dagster's UI over the live sandbox, as `order-pipeline dev` starts it."""

from __future__ import annotations

import signal
import time

import psutil
import pytest
import requests

from order_pipeline_tests.end_to_end.program import running


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
        family = psutil.Process(process.pid).children(recursive=True)
        listening = {each.laddr.ip for child in family for each in child.net_connections() if each.status == "LISTEN"}
        # Dagster's UI has no login: nobody but this machine may reach it, nor what stands behind it.
        assert listening
        assert listening <= {"127.0.0.1", "::1"}
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
