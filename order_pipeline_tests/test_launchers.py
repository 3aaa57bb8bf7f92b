"""Whether a run is still worked at: asked of a real code server, as run_monitoring does."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring.run_monitoring import execute_run_monitoring_iteration
from dagster._grpc.client import DagsterGrpcClient

from order_pipeline.commands.runs import PROCESS_TAG, clear_up, process_name
from order_pipeline.launchers import code_server
from order_pipeline.launchers.code_server import WatchedCodeServerLauncher
from order_pipeline_tests.ports import free_port


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def launcher(instance: dg.DagsterInstance) -> WatchedCodeServerLauncher:
    made = WatchedCodeServerLauncher()
    made.register_instance(instance)
    return made


def run_at(instance: dg.DagsterInstance, host: str, port: int) -> dg.DagsterRun:
    tags = {GRPC_INFO_TAG: json.dumps({"host": host, "port": port})}
    run: dg.DagsterRun = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags)
    return run


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real code server; what it serves does not matter here."""
    served = tmp_path_factory.mktemp("served") / "served.py"
    served.write_text("import dagster as dg\ndefs = dg.Definitions()\n")
    port = free_port()
    program = str(Path(sys.executable).with_name("dagster"))
    command = [program, "api", "grpc", "--python-file", str(served), "--port", str(port), "--max-workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = DagsterGrpcClient(host="127.0.0.1", port=port)
    deadline = time.monotonic() + 240
    while client.health_check_query() != "SERVING":  # type: ignore[no-untyped-call]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield port
    # It would wait for the channels of those who asked it.
    process.kill()
    process.wait(120)


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


def test_what_a_killed_orchestrator_leaves_is_failed_by_the_next_one_and_the_living_is_left_alone(served: int) -> None:
    """Run monitoring and clear_up, over a lost run, a lost start, and runs of a living and a dead command line."""
    overrides = {
        "run_launcher": {"module": "order_pipeline.launchers.code_server", "class": "WatchedCodeServerLauncher"},
        "run_monitoring": {"enabled": True, "start_timeout_seconds": 1},
    }
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as command:
        of_dead = {PROCESS_TAG: process_name(command.pid)}
        command.communicate()
    with instance_for_test(overrides=overrides) as instance:
        started = dg.DagsterRunStatus.STARTED
        lost = run_at(instance, "127.0.0.1", served)
        never_begun = create_run_for_test(instance)
        living = create_run_for_test(instance, status=started, tags={PROCESS_TAG: process_name()})
        dead = create_run_for_test(instance, status=started, tags=of_dead)

        def status(run: dg.DagsterRun) -> str:
            found = instance.get_run_by_id(run.run_id)
            assert found
            return found.status.value

        time.sleep(1.1)
        with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as context:
            looked = list(execute_run_monitoring_iteration(context, logging.getLogger(__name__)))
        assert looked == [None] * 4
        assert [status(run) for run in (lost, never_begun)] == ["FAILURE", "FAILURE"]
        assert [status(run) for run in (living, dead)] == ["STARTED", "STARTED"]
        # Nobody's child is the next command's to judge.
        assert clear_up(instance) == 1
        assert [status(run) for run in (living, dead)] == ["STARTED", "FAILURE"]
