"""Real processes for tests of what they share: each runs a script and prints one JSON line per thing it saw."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# time.monotonic of Linux is the same clock in every process, so moments may be compared.
PRELUDE = """
import json, sys, time
from order_pipeline.traffic.breaker import Breaker, Kind
from order_pipeline.traffic.breaker_rule import BreakerSettings
from order_pipeline.traffic.budget import Budget
from order_pipeline.traffic.errors import BreakerOpenError, CallError, HeldBackError
from order_pipeline.warehouse.database import connect
engine = connect(sys.argv[1])
arguments = sys.argv[2:]
def say(**seen):
    print(json.dumps(seen), flush=True)
say(ready=True)
sys.stdin.readline()
"""


class Started:
    """A process that waits for ``go``."""

    def __init__(self, script: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PRELUDE + script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        heard: dict[str, Any] = json.loads(self.process.stdout.readline())
        return heard

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def rest(self) -> list[dict[str, Any]]:
        """Wait for its end and return what else it said."""
        assert self.process.stdout is not None
        # Not communicate, which passes over what ``hear`` has read ahead.
        said = self.process.stdout.read()
        assert self.process.wait(60) == 0
        return [json.loads(line) for line in said.splitlines()]


@contextmanager
def running(script: str, arguments: Sequence[Sequence[object]]) -> Iterator[list[Started]]:
    """Start a process for each list of arguments, let them go all at once, and leave none behind."""
    started = [Started(script, *each) for each in arguments]
    try:
        for each in started:
            assert each.hear() == {"ready": True}
        for each in started:
            each.go()
        yield started
    finally:
        for each in started:
            if each.process.poll() is None:
                each.process.kill()
            each.process.communicate()


def all_said(script: str, arguments: Sequence[Sequence[object]]) -> list[list[dict[str, Any]]]:
    """Run processes to their end and return what each said."""
    with running(script, arguments) as started:
        return [each.rest() for each in started]
