"""order-pipeline dev: Dagster's UI, daemon and code server on this machine.

Belongs here: starting them together and stopping them together. Not here: any of the work.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from rich.console import Console

from order_pipeline import configuration
from order_pipeline.commands.environment import dagster_home

DEFAULT_PORT = 3000
STOP_TIMEOUT_SECONDS = 20
# What is left then is told itself: runs note that they were interrupted, and start again with the next dev.
END_TIMEOUT_SECONDS = 5
# The exit code of something left undone (cli.py).
ENDED_BY_ITSELF = 1


class PortTakenError(Exception):
    """The port that was asked for is taken."""


def serve_dagster(port: int | None, console: Console) -> int:
    """Run dagster dev until Ctrl-C, and return 0; non-zero when it ended by itself. Raises PortTakenError.

    Nothing is started again here: with half of it gone (a daemon, and so no sensors and no schedules) what is left
    would look alive and do nothing. What must outlive such deaths runs under a supervisor.
    """
    chosen = _port(port)
    folder = dagster_home()
    console.print(f"Dagster's UI opens at [bold]http://127.0.0.1:{chosen}[/] in about ten seconds; Ctrl-C ends it.")
    command = [
        str(Path(sys.executable).with_name("dagster")), "dev",
        "--workspace", str(folder / "workspace.yaml"), "--host", "127.0.0.1", "--port", str(chosen),
        "--log-level", "warning",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="order-pipeline-") as told:
        return _serve(command, Path(told) / "ending", console)


def _serve(command: Sequence[str], ending: Path, console: Console) -> int:
    # A group of its own: Ctrl-C reaches us alone, and we end it in order.
    environment = os.environ | {configuration.ENDING: str(ending)}
    process = subprocess.Popen(command, start_new_session=True, env=environment)  # noqa: S603
    try:
        code = process.wait()
    except KeyboardInterrupt:
        console.print("stopping…")
        ending.touch()
        # Asked for now: what outlives its parent is nobody's child any more.
        started = _descendants(process.pid)
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_SECONDS)
        _end(started)
        # And whatever was started since.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return 0
    # It ends the others when one of them dies, with exit code 0; killed itself, it leaves them behind.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    console.print(
        f"[red]Dagster ended by itself[/] (exit code {code}): its daemon, webserver or dagster dev itself died, most "
        "likely for want of memory; the lines above say more. Everything was stopped. What the runs had stored stays; "
        "start again, and they go on. docs/deployment.md has what restarts by itself.",
        soft_wrap=True,
    )
    return code if code > 0 else ENDED_BY_ITSELF


def _descendants(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def _end(processes: Sequence[psutil.Process]) -> None:
    """See to it that none of them is left: dagster dev does not wait for code servers and runs to end."""
    _gone, left = psutil.wait_procs(processes, timeout=END_TIMEOUT_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _gone, left = psutil.wait_procs(left, timeout=END_TIMEOUT_SECONDS)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _port(wanted: int | None) -> int:
    """Return the port that was asked for, else 3000, else any that is free."""
    if wanted is not None:
        if not _is_free(wanted):
            raise PortTakenError(f"--port: {wanted} is taken; stop what listens there, or choose another")
        return wanted
    return DEFAULT_PORT if _is_free(DEFAULT_PORT) else _any_free_port()


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _any_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
