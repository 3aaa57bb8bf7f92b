"""Runs are told when what they run under shall end: python -m order_pipeline.launchers.ending COMMAND...

Belongs here: passing a signal on, and saying so to those who would go on for minutes. Not here: what they do about it
(sync/following.py).

A code server or a worker that gets SIGTERM waits for its runs and does not tell them. A run that loads something ends
soon enough; one that follows the messages would go on for ten minutes where there is traffic, and be killed with the
container. So there is a file whose name everybody has in the environment, and which is there once the end has begun.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

# The path of the file (configuration.py).
ENDING = "ORDER_PIPELINE_ENDING"


def run(command: Sequence[str]) -> int:
    """Run the command until it ends, and return its exit code; SIGTERM and SIGINT reach it after the file is there."""
    with tempfile.TemporaryDirectory(prefix="order-pipeline-") as folder:
        file = Path(folder) / "ending"
        processes: list[subprocess.Popen[bytes]] = []

        def end(_signal: int, _frame: FrameType | None) -> None:
            file.touch()
            for process in processes:
                process.terminate()

        for told in (signal.SIGTERM, signal.SIGINT):
            signal.signal(told, end)
        # A group of its own: a Ctrl-C reaches it through us alone.
        environment = os.environ | {ENDING: str(file)}
        process = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603
        processes.append(process)
        if file.exists():
            process.terminate()
        code = process.wait()
    # As a shell says that a signal ended it.
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
