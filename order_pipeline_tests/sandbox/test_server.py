from __future__ import annotations

import subprocess
import sys
import threading
from datetime import timedelta

import pytest
import requests

from order_pipeline.sandbox.clock import DrivenClock
from order_pipeline.sandbox.inspection import truth as ground_truth
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.rate_limit import RateLimit
from order_pipeline.sandbox.server import SandboxServer, serve
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.conftest import NOW
from order_pipeline_tests.sandbox.contract_script import Script, truth

SMALL = SandboxSettings(orders=60, days=3, driven_from=NOW)


def script_of(server: SandboxServer) -> Script:
    return Script(server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, DEMO_SHOP.session_key)


def test_the_server_leaves_no_thread_and_no_socket_behind() -> None:
    before = set(threading.enumerate())
    with SandboxServer(open_marketplace(SMALL)) as server:
        assert requests.get(server.url + "/sandbox/health", timeout=60).status_code == 200
    assert set(threading.enumerate()) == before
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url + "/sandbox/health", timeout=60)


def test_only_loopback_is_served_unless_allowed() -> None:
    with pytest.raises(ValueError, match="loopback"):
        SandboxServer(open_marketplace(SMALL), host="0.0.0.0")
    with pytest.raises(ValueError, match="loopback"):
        serve(SMALL, host="0.0.0.0", on_ready=print)


def test_the_sandbox_package_needs_no_web_framework_until_it_serves() -> None:
    program = (
        "import sys, order_pipeline.sandbox.settings;"
        "print(sorted({'uvicorn', 'starlette', 'pyarrow', 'pandas', 'dagster'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_driven_clock_is_driven_over_http(server: SandboxServer, script: Script) -> None:
    url = server.url + "/sandbox/clock"
    start = requests.get(url, timeout=60).json()["now"]
    moved = requests.post(url, json={"advance_seconds": 90}, timeout=60).json()["now"]
    assert moved > start
    later = NOW + timedelta(hours=3)
    assert requests.post(url, json={"now": later.isoformat()}, timeout=60).json()["now"] == later.isoformat()
    assert script.call("taobao.time.get")["time"] == "2026-03-15 15:00:00"
    backwards = requests.post(url, json={"now": NOW.isoformat()}, timeout=60)
    assert (backwards.status_code, "forward" in backwards.json()["error"]) == (400, True)
    assert requests.post(url, json={"later": 1}, timeout=60).status_code == 400


def test_a_real_clock_is_not_driven() -> None:
    with SandboxServer(open_marketplace(SandboxSettings(orders=1, days=1))) as server:
        assert requests.post(server.url + "/sandbox/clock", json={"advance_seconds": 1}, timeout=60).status_code == 409


def test_orders_live_as_the_clock_is_advanced() -> None:
    market = open_marketplace(SMALL)
    assert isinstance(market.clock, DrivenClock)
    with SandboxServer(market) as server:
        before = {trade["tid"]: trade for trade in truth(server.url, DEMO_SHOP.id, "tid,status,modified")}
        market.clock.advance(40 * 86_400)
        after = {trade["tid"]: trade for trade in truth(server.url, DEMO_SHOP.id, "tid,status,modified")}
    assert set(before) == set(after)
    changed = [tid for tid, trade in after.items() if trade != before[tid]]
    assert len(changed) > 30
    assert all(after[tid]["modified"] > before[tid]["modified"] for tid in changed)


def test_the_truth_shows_one_moment_however_long_it_takes(market: Marketplace) -> None:
    now, pieces = ground_truth(market, DEMO_SHOP.id, "tid,modified,status")
    first = next(pieces)
    clock = market.clock
    assert isinstance(clock, DrivenClock)
    clock.advance(86_400)
    assert market.statistics()["orders"][DEMO_SHOP.id] > 0
    lines = (first + b"".join(pieces)).decode().splitlines()
    assert len(lines) > 1000
    assert max(line.split('"modified":"')[1][:19] for line in lines) <= now


def test_the_truth_says_when_it_was_taken(server: SandboxServer) -> None:
    response = requests.get(server.url + "/sandbox/truth", params={"shop": DEMO_SHOP.id, "fields": "tid"}, timeout=60)
    assert len(response.headers["x-platform-now"]) == len("2026-03-15 12:00:00")
    unknown = requests.get(server.url + "/sandbox/truth", params={"shop": "nobody"}, timeout=60)
    assert unknown.status_code == 404


def test_calls_beyond_the_limit_are_refused_and_counted() -> None:
    settings = SandboxSettings(orders=10, days=1, driven_from=NOW, calls_per_minute=3)
    with SandboxServer(open_marketplace(settings)) as server:
        script = script_of(server)
        answers = [script.call("taobao.time.get") for _ in range(5)]
        assert ["time" in answer for answer in answers] == [True] * 3 + [False] * 2
        assert (answers[4]["code"], answers[4]["msg"]) == (7, "App Call Limited")
        assert answers[4]["sub_code"] == "accesscontrol.limited-by-app-access-count"
        assert answers[4]["sub_msg"] in {f"This ban will last for {n} more seconds" for n in (59, 60)}
        statistics = requests.get(server.url + "/sandbox/statistics", timeout=60).json()
    assert statistics["calls"] == {"taobao.time.get": 3}
    assert statistics["refusals"] == {"7": 2}
    assert statistics["orders"] == {DEMO_SHOP.id: 10}


def test_the_limit_looks_back_over_any_minute() -> None:
    now = [0.0]
    limit = RateLimit(2, monotonic=lambda: now[0])
    assert [limit.refused_for(), limit.refused_for()] == [0, 0]
    now[0] = 58.5
    assert limit.refused_for() == 2
    now[0] = 60.0
    assert [limit.refused_for(), limit.refused_for(), limit.refused_for()] == [0, 0, 60]


def test_several_shops_share_the_demand_and_see_only_their_own(server: SandboxServer) -> None:
    ours = {trade["tid"] for trade in truth(server.url, DEMO_SHOP.id, "tid")}
    theirs = {trade["tid"] for trade in truth(server.url, "other-shop", "tid")}
    assert len(ours) == len(theirs) == 1_500
    assert not ours & theirs


def test_a_test_may_place_and_change_orders(market: Marketplace, script: Script) -> None:
    tid = market.place_order(DEMO_SHOP.id)
    market.touch(DEMO_SHOP.id, tid, seller_flag=5, status="WAIT_SELLER_SEND_GOODS")
    detail = script.call("taobao.trade.fullinfo.get", fields="status,seller_flag,modified,payment", tid=tid)["trade"]
    assert (detail["status"], detail["seller_flag"]) == ("WAIT_SELLER_SEND_GOODS", 5)
    assert detail["modified"] == script.call("taobao.time.get")["time"]
    with pytest.raises(ValueError, match="editable"):
        market.touch(DEMO_SHOP.id, tid, created=5)
    with pytest.raises(LookupError):
        market.touch(DEMO_SHOP.id, 5)
