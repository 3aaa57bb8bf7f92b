"""What becomes of `order-pipeline dev` when a part of Dagster dies under it, and when it is told to end."""

from __future__ import annotations

import io
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests
from rich.console import Console

from order_pipeline.cli import obey_signals
from order_pipeline.commands.dev import ENDED_BY_ITSELF, serve_dagster
from order_pipeline_tests.ports import free_port

# Ten seconds where nothing else runs; minutes where ten others do.
START_SECONDS = 240.0


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Definitions of no size: what is tested is who lives, not what is served."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (tmp_path / "served.py").write_text("import dagster as dg\ndefs = dg.Definitions()\n")
    (tmp_path / "workspace.yaml").write_text(f"load_from: [python_file: {tmp_path / 'served.py'}]\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))


def test_when_the_daemon_dies_everything_is_ended_and_said_to_be() -> None:
    said = io.StringIO()
    with ThreadPoolExecutor() as threads:
        port = free_port()
        serving = threads.submit(serve_dagster, port, Console(file=said, width=400))
        wait_for(f"http://127.0.0.1:{port}/server_info")
        started = ours(psutil.Process())
        (daemon,) = (each for each in started if "dagster._daemon run" in words(each))
        daemon.kill()
        assert serving.result(START_SECONDS) == ENDED_BY_ITSELF
    assert "Dagster ended by itself" in said.getvalue()
    _gone, left = psutil.wait_procs(started, timeout=60)
    assert [words(each) for each in left] == []


def test_told_to_end_it_leaves_nothing_behind_even_where_a_shell_made_it_ignore_ctrl_c() -> None:
    port = free_port()
    program = (
        "import sys; from rich.console import Console; from order_pipeline.cli import obey_signals; "
        "from order_pipeline.commands.dev import serve_dagster; "
        f"obey_signals(); sys.exit(serve_dagster({port}, Console()))"
    )
    # As `order-pipeline dev &` in a script: the shell lets it ignore SIGINT.
    command = f"{shlex.join([sys.executable, '-c', program])} & echo $!; wait $!"
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        dev = psutil.Process(int(shell.stdout.readline()))
        wait_for(f"http://127.0.0.1:{port}/server_info")
        started = ours(dev)
        assert len(started) >= 4, [words(each) for each in started]
        dev.send_signal(signal.SIGTERM)
        assert shell.wait(90) == 0
    _gone, left = psutil.wait_procs(started, timeout=10)
    assert [words(each) for each in left] == []


def test_a_shell_that_starts_it_in_the_background_does_not_make_it_deaf_to_sigint() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        obey_signals()
        for told in (signal.SIGINT, signal.SIGTERM):
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(told)
    finally:
        for told, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(told, handler)


def ours(parent: psutil.Process) -> list[psutil.Process]:
    """What dagster dev started, and itself: the parent has other children, too."""
    return [
        each
        for first in parent.children()
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
