"""A restarted sandbox never contradicts what it once said, not even after a kill."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from order_pipeline.sandbox.clock import DrivenClock
from order_pipeline.sandbox.continuity import StateMismatchError
from order_pipeline.sandbox.inspection import truth as ground_truth
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.conftest import NOW
from order_pipeline_tests.sandbox.contract_script import truth

PROGRAM = """
import sys
from pathlib import Path
from order_pipeline.sandbox.server import SandboxSettings, serve
live = {"live_orders_per_second": 40, "live_life_speed": 50_000}
serve(
    SandboxSettings(orders=200, days=5, state_path=Path(sys.argv[1]), **live),
    on_ready=lambda url: print(url, flush=True),
)
"""


def start(state: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(state)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def history(trade: dict[str, Any]) -> tuple[Any, ...]:
    # Not the receiver: one buyer in a hundred changes the address.
    fixed = ("created", "type", "title", "buyer_open_uid", "total_fee")
    return tuple(trade.get(name) for name in fixed)


def test_a_killed_sandbox_goes_on_where_it_was(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.json"
    said: dict[int, dict[str, Any]] = {}
    for _ in range(3):
        process, url = start(state)
        try:
            deadline = time.monotonic() + random.uniform(0.5, 1.2)
            while time.monotonic() < deadline:
                now = {trade["tid"]: trade for trade in truth(url, DEMO_SHOP.id)}
                assert set(said) <= set(now)
                for tid, before in said.items():
                    assert now[tid]["modified"] >= before["modified"]
                    assert history(now[tid]) == history(before)
                    if now[tid]["modified"] == before["modified"] and now[tid]["status"] != before["status"]:
                        # Several changes may share a second, but an ended order never comes back.
                        assert before["status"] not in ("TRADE_FINISHED", "TRADE_CLOSED_BY_TAOBAO")
                said = now
        finally:
            process.kill()
            process.wait()
    assert len(said) > 240


def test_a_signal_ends_the_server_without_a_trace(tmp_path: Path) -> None:
    process, url = start(tmp_path / "sandbox.json")
    assert requests.get(url + "/sandbox/health", timeout=60).json() == {"status": "ok"}
    process.terminate()
    assert process.wait(timeout=60) == 0


def everything(market: Marketplace) -> tuple[str, bytes]:
    now, pieces = ground_truth(market, DEMO_SHOP.id, None)
    return now, b"".join(pieces)


def live(state: Path, minutes: float) -> Marketplace:
    """A marketplace as it is when started ``minutes`` after the first one."""
    market = open_marketplace(
        SandboxSettings(
            orders=300,
            days=5,
            live_orders_per_second=2,
            live_life_speed=2_000,
            state_path=state,
            driven_from=NOW + timedelta(minutes=minutes),
        )
    )
    assert isinstance(market.clock, DrivenClock)
    return market


def drive(market: Marketplace, minutes: float) -> None:
    assert isinstance(market.clock, DrivenClock)
    market.clock.set(NOW + timedelta(minutes=minutes))


def test_the_rebuilt_marketplace_is_the_same_to_the_byte_however_often_it_was_asked(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.json"
    first = live(state, 0)
    for step in range(1, 101):
        drive(first, step / 17)
        first.statistics()
    before = everything(first)
    log = [(entry.tid, entry.version) for entry, _ in first.ledger(DEMO_SHOP.id).versions()]
    again = live(state, 100 / 17)
    assert everything(again) == before
    assert [(entry.tid, entry.version) for entry, _ in again.ledger(DEMO_SHOP.id).versions()] == log
    assert first.statistics()["arrived"] == again.statistics()["arrived"] > 500


def test_nothing_arrives_while_no_session_is_open_but_orders_live_on(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.json"
    first = live(state, 0)
    drive(first, 5)
    arrived = first.statistics()["arrived"]
    first.close()
    later = live(state, 65)
    assert later.statistics()["arrived"] == arrived
    closed = b"".join(ground_truth(later, DEMO_SHOP.id, "status")[1]).count(b"TRADE_FINISHED")
    assert closed > b"".join(ground_truth(first, DEMO_SHOP.id, "status")[1]).count(b"TRADE_FINISHED")
    drive(later, 66)
    assert later.statistics()["arrived"] == pytest.approx(arrived + 120, abs=2)


def test_what_is_served_was_promised_on_disk_before(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.json"
    market = live(state, 0)
    for minutes in (1, 1.01, 7):
        drive(market, minutes)
        now = market.statistics()["now"]
        promised = json.loads(state.read_bytes())["sessions"][-1]["open_until_ms"]
        assert promised > (NOW + timedelta(minutes=minutes)).timestamp() * 1000, now


def test_a_state_file_of_another_sandbox_is_refused_with_the_remedy(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.json"
    open_marketplace(SandboxSettings(orders=10, state_path=state))
    with pytest.raises(StateMismatchError, match="delete the file"):
        open_marketplace(SandboxSettings(orders=11, state_path=state))
    state.write_text("{")
    with pytest.raises(StateMismatchError, match="delete it"):
        open_marketplace(SandboxSettings(orders=10, state_path=state))
