"""Running the order-pipeline command as a process of its own.

Belongs here: starting it, and the files it reads. Not here: what it must do.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from order_pipeline.cli import main
from order_pipeline_tests.conftest import Play

PROGRAM = [sys.executable, "-m", "order_pipeline"]
# A command takes seconds where nothing else runs; minutes where ten others do.
PATIENCE_SECONDS = 300.0


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def run_here(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As ``run``, but in this process: a start costs two seconds, which dozens of quick commands need not each pay."""
    said, complained = io.StringIO(), io.StringIO()
    before, words, handler = dict(os.environ), sys.argv, signal.getsignal(signal.SIGTERM)
    os.environ.update(environment)
    sys.argv = [PROGRAM[-1], *arguments]
    code: int | str | None = 0
    try:
        with redirect_stdout(said), redirect_stderr(complained):
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        signal.signal(signal.SIGTERM, handler)
        sys.argv = words
        os.environ.clear()
        os.environ.update(before)
    return subprocess.CompletedProcess(arguments, int(code or 0), said.getvalue(), complained.getvalue())


def shops_file(folder: Path, play: Play, **changes: str | bool) -> None:
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
        process.wait(PATIENCE_SECONDS)
        assert process.stdout is not None
        process.stdout.close()
