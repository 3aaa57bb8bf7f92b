"""Several calls in one request, built by hand from contract 1.6."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from order_pipeline.sandbox.server import SandboxServer
from order_pipeline_tests.sandbox.contract_script import Script

SEPARATOR = "\r\n-S-\r\n"


def send(server: SandboxServer, script: Script, segments: list[str], separator: str = SEPARATOR) -> list[Any]:
    body = separator.join(segments)
    system = script.parameters("")
    system.pop("session")
    text = "".join(name + system[name] for name in sorted(system)) + body
    system["sign"] = hashlib.md5(f"{script.secret}{text}{script.secret}".encode()).hexdigest().upper()
    headers = {"content-type": "text/plain;charset=utf-8"}
    if separator != SEPARATOR:
        headers["top-api-separator"] = separator
    url = server.url + "/router/batch"
    response = script.http.post(url, params=system, data=body.encode(), headers=headers, timeout=60)
    return [json.loads(piece) for piece in response.text.split(separator)]


@pytest.mark.parametrize("separator", [SEPARATOR, "~~~"])
def test_a_batch_answers_each_call_in_its_place(server: SandboxServer, script: Script, separator: str) -> None:
    tids = script.pages_of_ids("taobao.trades.sold.get", type="cod")[:2]
    shared = {"method": "taobao.trade.fullinfo.get", "session": script.session, "fields": "tid"}
    calls = [urlencode({"tid": tids[0]}), urlencode({"method": "taobao.time.get"}), "N", urlencode({"tid": tids[1]})]
    answers = send(server, script, ["#PUBLIC#" + urlencode(shared), *calls], separator)
    assert answers[0]["trade_fullinfo_get_response"]["trade"] == {"tid": tids[0]}
    assert "time" in answers[1]["time_get_response"]
    assert answers[2]["error_response"]["msg"] == "Missing required arguments:tid"
    assert answers[3]["trade_fullinfo_get_response"]["trade"] == {"tid": tids[1]}


def test_twenty_calls_are_the_most(server: SandboxServer, script: Script) -> None:
    public = "#PUBLIC#method=taobao.time.get"
    assert len(send(server, script, [public, *["N"] * 20])) == 20
    refused = send(server, script, [public, *["N"] * 21])
    assert [answer["error_response"]["code"] for answer in refused] == [41]


def test_the_body_of_a_batch_is_signed(server: SandboxServer, script: Script) -> None:
    parameters = script.parameters("")
    url = server.url + "/router/batch"
    signed = {**parameters, "sign": "0" * 32}
    response = script.http.post(url, params=signed, data="#PUBLIC#method=taobao.time.get", timeout=60)
    assert response.json()["error_response"]["code"] == 25
