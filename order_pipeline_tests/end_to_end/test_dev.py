"""Dagster's UI over the live sandbox, as `order-pipeline dev` starts it."""

from __future__ import annotations

import io
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
from rich.console import Console

from order_pipeline.commands.dev import ENDED_BY_ITSELF, serve_dagster
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


def test_when_the_daemon_dies_everything_is_ended_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With definitions of no size: what is tested is who lives, not what is served."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (tmp_path / "served.py").write_text("import dagster as dg\ndefs = dg.Definitions()\n")
    (tmp_path / "workspace.yaml").write_text(f"load_from: [python_file: {tmp_path / 'served.py'}]\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    said = io.StringIO()
    with ThreadPoolExecutor() as threads:
        port = free_port()
        serving = threads.submit(serve_dagster, port, Console(file=said, width=400))
        wait_for(f"http://127.0.0.1:{port}/server_info")
        started = ours()
        (daemon,) = (each for each in started if "dagster._daemon run" in words(each))
        daemon.kill()
        assert serving.result(90) == ENDED_BY_ITSELF
    assert "Dagster ended by itself" in said.getvalue()
    _gone, left = psutil.wait_procs(started, timeout=10)
    assert [words(each) for each in left] == []


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def ours() -> list[psutil.Process]:
    """What dagster dev started, and itself: this process has other children, too."""
    return [
        each
        for first in psutil.Process().children()
        if "dagster dev" in words(first)
        for each in [first, *first.children(recursive=True)]
    ]


def words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


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
