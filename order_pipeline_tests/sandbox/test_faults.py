from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import requests

from order_pipeline.sandbox.faults import Fault, FaultPlan
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.contract_script import Script, truth

LIST = "taobao.trades.sold.get"


@pytest.fixture(autouse=True)
def _no_faults_afterwards(server: SandboxServer) -> Iterator[None]:
    yield
    requests.delete(server.url + "/sandbox/faults", timeout=60)


def switch_on(server: SandboxServer, name: str, **options: object) -> None:
    response = requests.post(server.url + "/sandbox/faults", json={"name": name, **options}, timeout=60)
    assert response.status_code == 200
    assert [fault["name"] for fault in response.json()["active"]] == [name]


def raw(script: Script) -> requests.Response:
    return script.send(script.parameters(LIST, fields="tid,payment,title,orders", page_size=50))


def test_an_outage_answers_instead_of_the_gateway(server: SandboxServer, script: Script) -> None:
    switch_on(server, "http_error", status=503)
    assert raw(script).status_code == 503
    requests.delete(server.url + "/sandbox/faults", timeout=60)
    switch_on(server, "html")
    response = raw(script)
    assert (response.status_code, response.text[:6]) == (200, "<html>")
    requests.delete(server.url + "/sandbox/faults", timeout=60)
    switch_on(server, "empty_body")
    assert raw(script).content == b""


def test_an_answer_may_be_cut_off(server: SandboxServer, script: Script) -> None:
    switch_on(server, "truncated")
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw(script).text)


def test_answers_may_be_slow(server: SandboxServer, script: Script) -> None:
    switch_on(server, "latency", milliseconds=150)
    begin = time.monotonic()
    raw(script)
    assert time.monotonic() - begin > 0.14


@pytest.mark.parametrize(
    ("name", "code", "sub_code"),
    [
        ("ban", 7, "accesscontrol.limited-by-app-access-count"),
        ("isp", 15, "isp.top-remote-connection-timeout"),
        ("session_expired", 27, "session-expired"),
    ],
)
def test_a_refusal_reads_as_documented(
    server: SandboxServer, script: Script, name: str, code: int, sub_code: str
) -> None:
    switch_on(server, name, shop=DEMO_SHOP.id if name == "session_expired" else None, seconds=3)
    error = raw(script).json()["error_response"]
    assert (error["code"], error["sub_code"]) == (code, sub_code)
    assert "3 more seconds" in error.get("sub_msg", "3 more seconds") or name != "ban"


@pytest.mark.parametrize(
    ("kind", "trace"),
    [
        ("nul", '"title":"\\u0000'),
        ("lone_surrogate", '"title":"\\ud800'),
        ("money_text", '"payment":"abc"'),
        ("money_nan", '"payment":NaN'),
        ("huge_tid", '"tid":100000000000000000000'),
    ],
)
def test_some_records_are_poisoned_always_the_same(
    server: SandboxServer, script: Script, kind: str, trace: str
) -> None:
    switch_on(server, "poison", kind=kind, rate=0.3)
    first, second = raw(script).text, raw(script).text
    assert 3 < first.count(trace) < 40
    assert first.count(trace) == second.count(trace)
    assert truth(server.url, DEMO_SHOP.id, "tid,title")


def test_records_may_lack_their_lines(server: SandboxServer, script: Script) -> None:
    switch_on(server, "poison", kind="no_orders", rate=0.5)
    trades = raw(script).json()["trades_sold_get_response"]["trades"]["trade"]
    assert 0 < sum("orders" not in trade for trade in trades) < 50


def test_control_characters_make_the_json_invalid(server: SandboxServer, script: Script) -> None:
    switch_on(server, "control_characters", rate=1.0)
    text = raw(script).text
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    assert json.loads(text, strict=False)


def test_the_same_calls_meet_the_same_faults(server: SandboxServer, script: Script) -> None:
    seen = []
    for _ in range(2):
        switch_on(server, "http_error", rate=0.4, seed=9)
        seen.append([raw(script).status_code for _ in range(20)])
    assert seen[0] == seen[1]
    assert 3 < seen[0].count(502) < 15


def test_an_unknown_fault_is_refused_with_the_names_of_the_known(server: SandboxServer) -> None:
    response = requests.post(server.url + "/sandbox/faults", json={"name": "earthquake"}, timeout=60)
    assert response.status_code == 400
    assert "latency" in response.json()["error"]


def test_a_ban_lasts_and_counts_down() -> None:
    now = [100.0]
    plan = FaultPlan(monotonic=lambda: now[0])
    plan.switch_on(Fault("ban", rate=0.5, seconds=10, seed=1))
    left = []
    for _ in range(40):
        refusal = plan.refusal(LIST, None)
        left.append(int((refusal.sub_msg or "").split()[5]) if refusal else 0)
        now[0] += 1.0
    begin = left.index(10)
    assert left[begin : begin + 10] == list(range(10, 0, -1))
    assert 0 in left
