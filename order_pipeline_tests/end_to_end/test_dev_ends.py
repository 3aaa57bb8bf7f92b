"""What becomes of `order-pipeline dev` when a part of Dagster dies under it."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
from rich.console import Console

from order_pipeline.commands.dev import ENDED_BY_ITSELF, serve_dagster
from order_pipeline_tests.ports import free_port

# Ten seconds where nothing else runs; minutes where ten others do.
START_SECONDS = 240.0


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
        assert serving.result(START_SECONDS) == ENDED_BY_ITSELF
    assert "Dagster ended by itself" in said.getvalue()
    _gone, left = psutil.wait_procs(started, timeout=60)
    assert [words(each) for each in left] == []


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
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            requests.get(url, timeout=2).raise_for_status()
        except requests.RequestException:
            assert time.monotonic() < deadline, f"{url} did not come up"
            time.sleep(0.3)
        else:
            return
