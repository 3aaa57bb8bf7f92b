"""Whether a run is still worked at: asked of a real code server, as run_monitoring does."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._grpc.client import DagsterGrpcClient

from order_pipeline.launchers import code_server
from order_pipeline.launchers.code_server import WatchedCodeServerLauncher


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def launcher(instance: dg.DagsterInstance) -> WatchedCodeServerLauncher:
    made = WatchedCodeServerLauncher()
    made.register_instance(instance)
    return made


def run_at(instance: dg.DagsterInstance, host: str, port: int) -> dg.DagsterRun:
    tags = {GRPC_INFO_TAG: json.dumps({"host": host, "port": port})}
    run: dg.DagsterRun = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags)
    return run


@pytest.fixture
def served(tmp_path: Path) -> Iterator[int]:
    """The port of a real code server; what it serves does not matter here."""
    served = tmp_path / "served.py"
    served.write_text("import dagster as dg\ndefs = dg.Definitions()\n")
    port = free_port()
    program = str(Path(sys.executable).with_name("dagster"))
    command = [program, "api", "grpc", "--python-file", str(served), "--port", str(port), "--max-workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = DagsterGrpcClient(host="127.0.0.1", port=port)
    deadline = time.monotonic() + 60
    while client.health_check_query() != "SERVING":  # type: ignore[no-untyped-call]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield port
    process.terminate()
    process.wait(30)


def test_a_run_that_the_code_server_does_not_know_is_lost(instance: dg.DagsterInstance, served: int) -> None:
    said = launcher(instance).check_run_worker_health(run_at(instance, "127.0.0.1", served))
    assert said.status is WorkerStatus.NOT_FOUND
    assert "does not have this run" in str(said.msg)


def test_a_silent_code_server_is_given_time_to_come_back(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    run = run_at(instance, "127.0.0.1", port)
    asked = launcher(instance)
    assert asked.check_run_worker_health(run).status is WorkerStatus.RUNNING
    monkeypatch.setattr(code_server, "LONGEST_SILENCE_SECONDS", 0.0)
    said = asked.check_run_worker_health(run)
    assert said.status is WorkerStatus.NOT_FOUND
    assert f"127.0.0.1:{port} has not answered" in str(said.msg)


def test_a_run_of_the_command_line_is_nobodys_child_and_left_alone(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED)
    assert launcher(instance).check_run_worker_health(run).status is WorkerStatus.RUNNING
