"""The rate budget under load: several processes of the real client against a sandbox that counts for itself.

measure() is what other measurements use; by hand: python -m bench.budget CALLS_PER_MINUTE PROCESSES SECONDS
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import requests
from msgspec.structs import replace

from bench.stage import Stage, opened, stage
from order_pipeline.sync.access import open_shop
from order_pipeline.traffic.budget import CREDIT_SECONDS
from order_pipeline.traffic.side_connection import side_connection

# Enough to keep the budget busy where an answer takes a tenth of a second.
THREADS = 4
THROTTLED_CODE = "7"


def measure(calls_per_minute: int, processes: int, seconds: float) -> dict[str, Any]:
    """Call as fast as the budget allows and say what came of it.

    ``share_of_pace`` is calls made over calls that the limit grants pro rata for the time that passed (and for the
    half second of credit a fresh timetable begins with). A sandbox that has just begun would let a whole minute's
    calls through at once; that gift comes once, so it is counted on neither side. ``share_of_last_minute``, where
    the run is long enough, has no such question: calls of the last 60 seconds over the limit.
    ``refused`` is the sandbox's own count and has to be 0. CPU and round trips are those of an acquisition.
    """
    with stage(10, 1, calls_per_minute) as prepared:
        arguments = [prepared.database(), prepared.url, str(calls_per_minute), str(seconds)]
        command = [sys.executable, "-W", "ignore", "-m", "bench.budget", "worker", *arguments]
        workers = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        for worker in workers:
            worker.stdout.readline()  # type: ignore[union-attr]
        for worker in workers:
            worker.stdin.write("go\n")  # type: ignore[union-attr]
            worker.stdin.flush()  # type: ignore[union-attr]
        told = [json.loads(worker.communicate()[0].splitlines()[-1]) for worker in workers]
        refusals = requests.get(f"{prepared.url}/sandbox/statistics", timeout=10).json()["refusals"]
    moments = sorted(moment for each in told for moment in each["moments"])
    took = moments[-1] - moments[0] + CREDIT_SECONDS
    calls = len(moments)
    in_last_minute = sum(moment > moments[-1] - 60 for moment in moments)
    return {
        "calls_per_minute": calls_per_minute,
        "processes": processes,
        "calls": calls,
        "refused": refusals.get(THROTTLED_CODE, 0),
        "share_of_pace": calls / (calls_per_minute * took / 60),
        "share_of_last_minute": in_last_minute / calls_per_minute if took > 61 else None,
        "cpu_ms_per_acquisition": 1000 * sum(each["cpu_seconds"] for each in told) / calls,
        "round_trips_per_acquisition": sum(each["trips"] for each in told) / calls,
        "calls_by_process": [len(each["moments"]) for each in told],
    }


def _work(database_url: str, sandbox_url: str, calls_per_minute: int, seconds: float) -> dict[str, Any]:
    from concurrent.futures import ThreadPoolExecutor

    shop = replace(Stage(sandbox_url, None).shop, calls_per_minute=calls_per_minute)  # type: ignore[arg-type]
    with opened(database_url) as engine:
        access = open_shop(shop, engine)
        budget, side = access.gate.budget, side_connection(engine)
        acquire, execute = budget.acquire, side.execute  # type: ignore[union-attr]
        cpu: list[float] = []
        trips: list[str] = []

        def timed(*arguments: Any) -> float:
            began = time.thread_time()
            try:
                return acquire(*arguments)
            finally:
                cpu.append(time.thread_time() - began)

        def counted(*arguments: Any, attempted: str) -> Any:
            if "rate budget" in attempted:
                trips.append(attempted)
            return execute(*arguments, attempted=attempted)

        budget.acquire, side.execute = timed, counted  # type: ignore[union-attr, method-assign, assignment]
        print("ready", flush=True)
        sys.stdin.readline()
        over_at = time.monotonic() + seconds
        moments: list[float] = []

        def call() -> None:
            while time.monotonic() < over_at:
                access.platform.now()
                moments.append(time.monotonic())

        with ThreadPoolExecutor(THREADS) as pool:
            for running in [pool.submit(call) for _ in range(THREADS)]:
                running.result()
        return {"moments": moments, "cpu_seconds": sum(cpu), "trips": len(trips)}


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        print(json.dumps(_work(sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))))
    else:
        print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])), indent=2))
