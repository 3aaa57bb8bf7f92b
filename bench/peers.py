"""Loads beside their peers, in turn, on the same orders: two floors by hand, dlt, and ours.

Belongs here: the order of the runs, the comparison, the table. Not here: a run (floor.py, peer_dlt.py, load.py,
increments.py).
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import requests
from rich.console import Console
from rich.table import Table

from bench.floor import read_changes
from bench.stage import Stage, stage
from order_pipeline.commands.proof import read_truth
from order_pipeline.platforms.taobao.fields import ALL_TYPES, CREATED_LIST_FIELDS

DLT = Path(__file__).parent.parent / ".venv-peers" / "bin" / "python"
CHANGED_SHARE = 0.05
# A sale's hour of a large shop. A window of changes ends with a second, and those of its last one come twice.
CHANGES_A_SECOND = 10
# They take half a second each, so a median of three would be of the machine.
INCREMENTS = 5
# Longer than windows overlap.
REST_SECONDS = 310.0


def loads(orders: int, days: int, repeats: int, console: Console) -> dict[str, float]:
    """First load and increments of every peer; each figure the median of some runs, taken in turn."""
    first: dict[str, list[dict[str, Any]]] = {name: [] for name in PEERS}
    with stage(orders, days, driven=True) as on, on.as_shops_file(), ExitStack() as running:
        followers: dict[str, _Peer] = {}
        for number in range(repeats):
            is_last = number == repeats - 1
            with ExitStack() as stops:
                for name, command_of in PEERS.items():
                    if not (command := command_of(on, days)):
                        continue
                    peer = (running if is_last else stops).enter_context(_Peer.started(*command))
                    first[name].append(peer.heard())
                    followers[name] = peer
        increments = _increments(on, INCREMENTS if repeats > 1 else 1, followers)
    counted = {run["orders"] for runs in first.values() for run in runs}
    if len(counted) != 1:
        raise AssertionError(f"the peers loaded different numbers of orders: {counted}")
    _print(first, increments, console)
    speed = {name: median(run["orders"] / run["seconds"] for run in runs) for name, runs in first.items() if runs}
    figures: dict[str, Any] = {
        "list_orders_per_s": round(speed["ours"]),
        "floor_orders_per_s": round(speed["bare"]),
        "raw_floor_orders_per_s": round(speed["raw"]),
        "first_load_vs_raw_floor": _ratio(first["ours"], first["raw"]),
        # Pages at their fullest; the walk's shared seconds and the one look at the clock are the rest.
        "list_calls_vs_minimum": round(first["ours"][0]["calls"] / first["raw"][0]["calls"], 3),
        "increment_s": round(median(run["seconds"] for run in increments["ours"]), 2),
        "incremental_vs_raw_floor": _ratio(increments["ours"], increments["raw"]),
        "first_load_vs_dlt": None,
        "incremental_vs_dlt": None,
    }
    if first["dlt"]:
        figures["dlt_orders_per_s"] = round(speed["dlt"])
        figures["first_load_vs_dlt"] = _ratio(first["ours"], first["dlt"])
        figures["incremental_vs_dlt"] = _ratio(increments["ours"], increments["dlt"])
    return figures


def _ratio(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> float:
    """Of runs that stood beside each other, so that a noisy minute counts on both sides."""
    return round(float(median(they["seconds"] / we["seconds"] for we, they in zip(ours, theirs, strict=True))), 2)


class _Peer:
    """A process that says a line when it has loaded, and one more for each line it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def started(cls, *command: str) -> Iterator[_Peer]:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield cls(process)
        finally:
            process.kill()
            process.wait()

    def heard(self) -> dict[str, Any]:
        """Wait for its next line of JSON; what else it prints is passed over."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                said: dict[str, Any] = json.loads(line)
                return said
        raise RuntimeError(f"a peer ended with status {self._process.wait()}; what it wrote is above")

    def told(self, window: dict[str, str]) -> dict[str, Any]:
        """Say what changed when, and return what it says once it has followed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(window) + "\n")
        self._process.stdin.flush()
        return self.heard()


def _floor(kind: str) -> Callable[[Stage, int], list[str]]:
    run = [sys.executable, "-W", "ignore", "-m", "bench.floor", kind]
    return lambda on, days: [*run, on.database(), on.url, str(days)]


def _ours(on: Stage, days: int) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "bench.increments", on.database(), on.url, str(days)]


def _dlt(on: Stage, days: int) -> list[str]:
    """The command, none where dlt is not installed."""
    if not DLT.exists():
        return []
    shop = {name: value for name, value in msgspec.to_builtins(on.shop).items() if isinstance(value, str)}
    shop |= {"fields": CREATED_LIST_FIELDS, "types": ALL_TYPES}
    folder = tempfile.mkdtemp(prefix="dlt-", dir=on.home)
    # It insists on a host and a password; the socket's folder in the query goes before them.
    database = on.database().replace("+psycopg2", "").replace("postgres@/", "postgres:unused@localhost/")
    script = str(Path(__file__).with_name("peer_dlt.py"))
    return [str(DLT), "-W", "ignore", script, database, on.url, str(days), json.dumps(shop), folder]


# Who is compared, and the command that starts each (none: not installed); in this order, then in the other.
PEERS: dict[str, Callable[[Stage, int], list[str]]] = {
    "bare": _floor("bare"),
    "raw": _floor("raw"),
    "dlt": _dlt,
    "ours": _ours,
}


def _increments(on: Stage, repeats: int, peers: dict[str, _Peer]) -> dict[str, list[dict[str, Any]]]:
    """Let a share of the orders change, and each peer follow; the first to go changes every time."""
    tids = sorted(read_truth(on.url, on.shop.id).orders)
    chance = random.Random(1)
    took: dict[str, list[dict[str, Any]]] = {name: [] for name in PEERS}
    for number in range(repeats):
        changed = chance.sample(tids, int(len(tids) * CHANGED_SHARE))
        # As in life, where polls come every half minute: the watermark is past the changes of the last time, and our
        # overlap does not list them again.
        peers["ours"].told(touch(on, []))
        window = touch(on, changed)
        # Once for nobody: the sandbox writes each order out for who asks first, a quarter of a second for 2,500.
        read_changes(on.url, window)
        for name in list(peers)[:: -1 if number % 2 else 1]:
            took[name].append(peers[name].told(window))
        # At least: while the clock goes on for them, a few orders of the sandbox change by themselves.
        brought = {name: int(took[name][-1]["changed"]) for name in peers}
        if len(set(brought.values())) != 1 or min(brought.values()) < len(changed):
            raise AssertionError(f"{len(changed)} orders were changed, and the peers brought {brought}")
    return took


def touch(on: Stage, tids: list[str]) -> dict[str, str]:
    """Let these orders change, after a rest, and return from when to when they did: the platform's time, as text."""
    with requests.Session() as session:

        def clock(seconds: float) -> datetime:
            answer = session.post(f"{on.url}/sandbox/clock", json={"advance_seconds": seconds}, timeout=30)
            answer.raise_for_status()
            return datetime.fromisoformat(answer.json()["now"])

        start = clock(REST_SECONDS)
        for number, tid in enumerate(tids, 1):
            act = {"action": "touch", "shop": on.shop.id, "tid": int(tid)}
            session.post(f"{on.url}/sandbox/orders", json=act, timeout=30).raise_for_status()
            if number % CHANGES_A_SECOND == 0:
                clock(1)
        # Past the settle lag.
        end = clock(5)
    china = start.tzinfo
    return {"start": f"{start:%F %T}", "end": f"{end.astimezone(china) + timedelta(seconds=1):%F %T}"}


def _print(
    first: dict[str, list[dict[str, Any]]], increments: dict[str, list[dict[str, Any]]], console: Console
) -> None:
    repeats = len(first["ours"])
    table = Table(
        title=f"{int(first['ours'][0]['orders']):,} orders from lists into tables, median of {repeats} in turn"
    )
    for heading in (
        "",
        "first load: orders/s",
        "seconds",
        "CPU s",
        "peak MB",
        "of the raw floor",
        "5 % changed: seconds",
    ):
        table.add_column(heading, justify="right" if heading else "left")
    for kind, name in (
        ("bare", "floor by hand: requests, COPY, merge"),
        ("raw", "the same, raw JSON of each order kept"),
        ("dlt", "dlt: rest_api, merge, csv; keeps no raw"),
        ("ours", "order_pipeline: raw pages, lines, worklist"),
    ):
        runs, followed = first[kind], increments.get(kind)
        if not runs:
            table.add_row(name, *["not installed"] * 6)
            continue
        table.add_row(
            name,
            f"{median(run['orders'] / run['seconds'] for run in runs):,.0f}",
            f"{median(run['seconds'] for run in runs):.1f}",
            *(
                f"{median(run[what] for run in runs):,.1f}" if what in runs[0] else ""
                for what in ("cpu_seconds", "peak_mb")
            ),
            f"{_ratio(runs, first['raw']):.0%}",
            f"{median(run['seconds'] for run in followed):.2f}" if followed else "",
        )
    console.print(table)
