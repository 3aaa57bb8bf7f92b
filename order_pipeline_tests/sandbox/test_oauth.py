"""Authorisation as contract 2 has it: a browser's redirect, two POSTs, and sessions that end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests

from order_pipeline.sandbox.authorization import AuthorizationRules, TokenLifetimes
from order_pipeline.sandbox.clock import DrivenClock
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.conftest import NOW, OTHER_SHOP
from order_pipeline_tests.sandbox.contract_script import Script

REDIRECT = "http://127.0.0.1:9/back?kept=1"
LIST = "taobao.trades.sold.get"
RECORDED_NAMES = (
    "access_token expire_time expires_in r1_expires_in r1_valid r2_expires_in r2_valid re_expires_in refresh_token "
    "refresh_token_valid_time taobao_user_id taobao_user_nick token_type w1_expires_in w1_valid w2_expires_in "
    "w2_valid"
)
RECORDED = set(RECORDED_NAMES.split())
RULES = AuthorizationRules(lifetimes=TokenLifetimes(expires_in=7_200, re_expires_in=86_400), refreshes_per_hour=3)


def settings(state: Path | None = None) -> SandboxSettings:
    return SandboxSettings(
        shops=(DEMO_SHOP, OTHER_SHOP), orders=60, days=3, driven_from=NOW, authorization=RULES, state_path=state
    )


@pytest.fixture
def market() -> Marketplace:
    return open_marketplace(settings())


@pytest.fixture
def server(market: Marketplace) -> Iterator[SandboxServer]:
    with SandboxServer(market) as running:
        yield running


def authorize(server: SandboxServer, **changes: str) -> dict[str, str]:
    """What the browser brings back."""
    asked = {"response_type": "code", "client_id": DEMO_SHOP.app_key, "redirect_uri": REDIRECT, "state": "s/1 &"}
    response = requests.get(server.url + "/oauth/authorize", params=asked | changes, allow_redirects=False, timeout=60)
    assert response.status_code == 302
    assert response.headers["location"].startswith(REDIRECT + "&")
    found = parse_qs(urlsplit(response.headers["location"]).query)
    assert found.pop("kept") == ["1"]
    return {name: values[0] for name, values in found.items()}


def post(server: SandboxServer, **form: str) -> requests.Response:
    app = {"client_id": DEMO_SHOP.app_key, "client_secret": DEMO_SHOP.app_secret}
    return requests.post(server.url + "/oauth/token", data=app | form, timeout=60)


def exchange(server: SandboxServer, **changes: str) -> requests.Response:
    form = {"grant_type": "authorization_code", "code": authorize(server)["code"], "redirect_uri": REDIRECT}
    return post(server, **(form | changes))


def refresh(server: SandboxServer, token: dict[str, Any]) -> requests.Response:
    return post(server, grant_type="refresh_token", refresh_token=token["refresh_token"])


def answer_to(script: Script, session: str) -> str | None:
    """The sub_code of the error that a session meets, None if it is good."""
    sub_code: str | None = script.call(LIST, fields="tid", session=session).get("sub_code")
    return sub_code


def test_a_code_becomes_a_token_and_the_token_is_a_session(server: SandboxServer, script: Script) -> None:
    brought = authorize(server)
    assert set(brought) == {"code", "state"}
    assert brought["state"] == "s/1 &"
    response = exchange(server, code=brought["code"])
    token = response.json()
    assert response.status_code == 200
    assert set(token) >= RECORDED
    assert (token["expires_in"], token["token_type"]) == (7_200, "Bearer")
    assert token["expire_time"] == int(NOW.timestamp() * 1000) + 7_200_000
    assert token["taobao_user_id"] == str(DEMO_SHOP.user_id)
    assert unquote(token["taobao_user_nick"]) == DEMO_SHOP.seller_nick != token["taobao_user_nick"]
    assert answer_to(script, token["access_token"]) is None
    assert answer_to(script, DEMO_SHOP.session_key) is None


def test_a_seller_may_refuse(server: SandboxServer) -> None:
    assert authorize(server, deny="true")["error"] == "access_denied"
    assert authorize(server, response_type="token")["error"] == "unsupported_response_type"


def test_an_app_without_an_address_shows_the_code_on_a_page(server: SandboxServer) -> None:
    asked = {"response_type": "code", "client_id": DEMO_SHOP.app_key, "redirect_uri": "urn:ietf:wg:oauth:2.0:oob"}
    page = requests.get(server.url + "/oauth/authorize", params=asked, timeout=60)
    code = page.text.split('<code id="code">')[1].split("<")[0]
    assert exchange(server, code=code, redirect_uri=asked["redirect_uri"]).status_code == 200


def test_a_refused_token_is_a_400_with_an_error_and_its_description(server: SandboxServer, clock: DrivenClock) -> None:
    code = authorize(server)["code"]
    assert exchange(server, code=code).status_code == 200
    late = authorize(server)["code"]
    clock.advance(601)
    refusals = {
        "used": exchange(server, code=code),
        "late": exchange(server, code=late),
        "unknown": exchange(server, code="x"),
        "elsewhere": exchange(server, redirect_uri="http://127.0.0.1:9/other"),
        "secret": exchange(server, client_secret="wrong"),
        "foreign": exchange(server, client_id=OTHER_SHOP.app_key, client_secret=OTHER_SHOP.app_secret),
        "kind": post(server, grant_type="password"),
        "refresh": post(server, grant_type="refresh_token", refresh_token="x"),
    }
    for name, response in refusals.items():
        assert response.status_code == 400, name
        assert set(response.json()) == {"error", "error_description"}, name
    assert requests.get(server.url + "/oauth/authorize", params={"client_id": "1"}, timeout=60).status_code == 400


def test_a_session_expires_by_the_platforms_clock_and_a_refresh_replaces_it(
    server: SandboxServer, script: Script, clock: DrivenClock
) -> None:
    old = exchange(server).json()
    clock.advance(7_199)
    assert answer_to(script, old["access_token"]) is None
    clock.advance(1)
    assert answer_to(script, old["access_token"]) == "session-expired"
    new = refresh(server, old).json()
    assert answer_to(script, new["access_token"]) is None
    assert answer_to(script, old["access_token"]) == "invalid-sessionkey"
    assert refresh(server, old).json()["error"] == "invalid_grant"
    clock.advance(86_400)
    assert refresh(server, new).json()["error_description"] == "refresh_token is expired"


def test_refreshing_too_often_is_refused_while_the_token_stays_good(
    server: SandboxServer, script: Script, clock: DrivenClock
) -> None:
    token = exchange(server).json()
    for _ in range(3):
        token = refresh(server, token).json()
    refused = refresh(server, token)
    assert (refused.status_code, refused.json()["error_description"]) == (400, "refresh times limit exceed")
    assert answer_to(script, token["access_token"]) is None
    clock.advance(3_600)
    assert refresh(server, token).status_code == 200


def test_the_gateway_gives_tokens_too(server: SandboxServer, script: Script) -> None:
    answer = script.call("taobao.top.auth.token.create", session="", code=authorize(server)["code"])
    assert isinstance(answer["token_result"], str)
    token = json.loads(answer["token_result"])
    assert set(token) >= RECORDED | {"taobao_open_uid"}
    again = script.call("taobao.top.auth.token.refresh", session="", refresh_token=token["refresh_token"])
    assert answer_to(script, json.loads(again["token_result"])["access_token"]) is None
    refused = script.call("taobao.top.auth.token.create", session="", code="x")
    assert (refused["code"], refused["sub_code"]) == (15, "isv.invalid-parameter:code")


def test_authorising_again_ends_the_earlier_token(server: SandboxServer, script: Script) -> None:
    first, second = exchange(server).json(), exchange(server).json()
    assert answer_to(script, first["access_token"]) == "invalid-sessionkey"
    assert answer_to(script, second["access_token"]) is None
    assert refresh(server, first).status_code == 400


def test_a_withdrawn_authorisation_ends_every_session_and_is_announced(server: SandboxServer, script: Script) -> None:
    token = exchange(server).json()
    script.call("taobao.tmc.user.permit")
    url = server.url + "/sandbox/authorizations"
    assert requests.post(url, json={"shop": DEMO_SHOP.id, "action": "revoke"}, timeout=60).status_code == 200
    for session in (token["access_token"], DEMO_SHOP.session_key):
        assert answer_to(script, session) == "invalid-sessionkey"
    assert refresh(server, token).status_code == 400
    (message,) = script.call("taobao.tmc.messages.consume")["messages"]["tmc_message"]
    assert (message["topic"], message["user_nick"]) == ("taobao_top_AuthCancel", DEMO_SHOP.seller_nick)
    assert json.loads(message["content"])["user_id"] == DEMO_SHOP.user_id
    assert answer_to(script, exchange(server).json()["access_token"]) is None
    assert requests.post(url, json={"shop": DEMO_SHOP.id, "action": "renew"}, timeout=60).status_code == 200
    assert answer_to(script, DEMO_SHOP.session_key) is None
    assert requests.post(url, json={"shop": "nobody", "action": "renew"}, timeout=60).status_code == 404
    assert requests.post(url, json={"shop": DEMO_SHOP.id, "action": "x"}, timeout=60).status_code == 400


def test_the_token_address_may_fail_too(market: Marketplace, server: SandboxServer) -> None:
    market.faults.switch_on(Fault("http_error", method="oauth.token", status=503, count=1))
    assert [exchange(server).status_code for _ in range(2)] == [503, 200]


def test_tokens_outlive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.json"
    with SandboxServer(open_marketplace(settings(state))) as server:
        token = exchange(server).json()
    with SandboxServer(open_marketplace(settings(state))) as server:
        script = Script(server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, "")
        assert answer_to(script, token["access_token"]) is None
        assert refresh(server, token).status_code == 200


def test_configured_sessions_can_be_turned_off() -> None:
    rules = AuthorizationRules(configured_sessions=False)
    with SandboxServer(open_marketplace(SandboxSettings(orders=10, days=1, authorization=rules))) as server:
        script = Script(server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, "")
        assert answer_to(script, DEMO_SHOP.session_key) == "invalid-sessionkey"
        assert answer_to(script, exchange(server).json()["access_token"]) is None
