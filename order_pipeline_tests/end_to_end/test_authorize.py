"""order-pipeline authorize as a person uses it: a browser that comes back, a code that is pasted, an owner who says no.

The browser is a plain call that follows the sandbox's redirect.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text

from order_pipeline.sandbox.authorization import AuthorizationRules, TokenLifetimes
from order_pipeline.sandbox.shops import DEMO_SHOP, Shop
from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.end_to_end.program import PATIENCE_SECONDS, PROGRAM, run, run_here

SHOP = "demo-shop"
KEY = Fernet.generate_key().decode()
OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"
SECOND_SHOP = Shop(
    id="second-shop",
    app_key=DEMO_SHOP.app_key,
    app_secret=DEMO_SHOP.app_secret,
    session_key="6100second0session",
    seller_nick="第二家店",
    user_id=2_200_000_000_009,
)
TWO_SHOPS = {"shops": (DEMO_SHOP, SECOND_SHOP)}
NO_REFRESH = {"authorization": AuthorizationRules(lifetimes=TokenLifetimes(expires_in=86_400 * 3, re_expires_in=0))}


@pytest.fixture
def home(project_folder: Path, play: Play, warehouse_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose shop has no session yet, a database, and a key."""
    write_shops(project_folder, play)
    monkeypatch.setenv("ORDER_PIPELINE_DATABASE_URL", warehouse_url)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", warehouse_url)
    monkeypatch.setenv("ORDER_PIPELINE_TOKEN_KEY", KEY)
    return project_folder


def write_shops(folder: Path, play: Play, **changes: Any) -> None:
    shop = {
        "id": SHOP,
        "platform": "taobao",
        "gateway_url": play.server.gateway_url,
        "oauth_url": f"{play.server.url}/oauth",
        "app_key": DEMO_SHOP.app_key,
        "app_secret": DEMO_SHOP.app_secret,
    }
    (folder / "shops.yaml").write_text(json.dumps({"shops": [shop | changes]}))


@contextmanager
def waiting(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command at the moment when it has printed the address and waits."""
    process = subprocess.Popen(
        [*PROGRAM, "authorize", SHOP, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "http" in line, line
        yield process, line[line.index("http") :].strip()
    finally:
        process.kill()
        process.communicate()


def browse(page: str, **changes: str) -> requests.Response:
    return requests.get(page, params=changes, timeout=60)


def code_for(play: Play, redirect_uri: str = OUT_OF_BAND, **changes: str) -> str:
    asked = {"response_type": "code", "client_id": DEMO_SHOP.app_key, "redirect_uri": redirect_uri}
    page = requests.get(f"{play.server.url}/oauth/authorize", params=asked | changes, timeout=60)
    return page.text.split('<code id="code">')[1].split("<")[0]


def everything_in(engine: Engine) -> str:
    """Every row of every table, as text."""
    with transaction(engine) as connection:
        tables = connection.execute(
            text(
                "SELECT schemaname || '.' || tablename FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            )
        ).scalars()
        return "\n".join(
            str(row) for table in tables for row in connection.execute(text(f"SELECT t::text FROM {table} t")).scalars()
        )


def issued(play: Play) -> tuple[str, str]:
    token = play.marketplace.authority._tokens[SHOP]
    return token.access_token, token.refresh_token


def held(engine: Engine, column: str) -> Any:
    with transaction(engine) as connection:
        return connection.execute(text(f"SELECT {column} FROM sync.token")).scalar()


def test_the_browser_comes_back_and_the_shop_is_authorised(home: Path, play: Play, engine: Engine) -> None:
    with waiting("--json") as (process, page):
        assert page.startswith(f"{play.server.url}/oauth/authorize?")
        answer = browse(page)
        assert answer.status_code == 200
        assert "authorised" in answer.text
        said, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, complaints
    report = json.loads(said)
    assert (report["shop"], report["account"]) == (SHOP, str(DEMO_SHOP.user_id))
    assert 149 < report["days_left"] <= 150
    assert report["refreshes_from"]
    synced = run("sync", "--json")
    assert synced.returncode == 0, synced.stderr
    # Nothing that anybody can read holds the token: no table, no output, no log file.
    stored = everything_in(engine)
    assert len(stored) > 100_000
    files = [path.read_bytes().decode("utf-8", "replace") for path in home.rglob("*") if path.is_file()]
    outputs = [said, complaints, synced.stdout, synced.stderr, run_here("status").stdout, run_here("doctor").stdout]
    for secret in issued(play):
        assert not any(secret in place for place in [stored, *files, *outputs])
    sealed = Fernet(KEY).decrypt(str(held(engine, "sealed"))).decode()
    assert all(secret in sealed for secret in issued(play))


@pytest.mark.usefixtures("home")
def test_status_and_doctor_say_how_long_a_token_is_good(play: Play) -> None:
    assert run_here("authorize", SHOP, "--code", code_for(play)).returncode == 0
    (shop,) = json.loads(run_here("status", "--json").stdout)["shops"]
    assert 149 < shop["token_days_left"] <= 150
    assert shop["held"] is None
    findings = json.loads(run_here("doctor", "--json").stdout)["findings"]
    (token,) = (each for each in findings if each["subject"] == f"shop {SHOP}: token")
    assert "ends in 150.0 days" in token["said"]
    assert "refreshed by itself" in token["said"]


@pytest.mark.parametrize("play", [NO_REFRESH], indirect=True)
@pytest.mark.usefixtures("home")
def test_a_token_that_cannot_be_refreshed_says_when_a_person_is_needed(play: Play) -> None:
    authorised = run_here("authorize", SHOP, "--code", code_for(play))
    assert "ends in 3.0 days" in authorised.stdout
    assert "cannot be refreshed, so authorise again before: order-pipeline authorize demo-shop" in authorised.stdout
    findings = json.loads(run_here("doctor", "--json").stdout)["findings"]
    assert [each["well"] for each in findings if each["subject"] == f"shop {SHOP}: token"] == [False]


@pytest.mark.usefixtures("home")
def test_a_code_can_be_pasted_and_so_can_the_address_it_is_in(play: Play, engine: Engine) -> None:
    with waiting("--paste") as (process, page):
        shown = browse(page).text
        code = shown.split('<code id="code">')[1].split("<")[0]
        said, complaints = process.communicate(code + "\n", timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, complaints
    assert "is authorised as 沙箱测试旗舰店" in said
    first = held(engine, "fingerprint")
    asked = {"response_type": "code", "client_id": DEMO_SHOP.app_key, "redirect_uri": "http://127.0.0.1:9/"}
    back = requests.get(f"{play.server.url}/oauth/authorize", params=asked, allow_redirects=False, timeout=60)
    pasted = run_here("authorize", SHOP, "--code", back.headers["location"], "--redirect-uri", "http://127.0.0.1:9/")
    assert pasted.returncode == 0, pasted.stderr
    assert held(engine, "fingerprint") != first


@pytest.mark.usefixtures("home")
def test_the_gateway_gives_tokens_too(play: Play, engine: Engine) -> None:
    authorised = run_here("authorize", SHOP, "--gateway", "--code", code_for(play))
    assert authorised.returncode == 0, authorised.stderr
    assert play.marketplace.calls["taobao.top.auth.token.create"] == 1
    assert play.marketplace.calls["oauth.token"] == 0
    assert held(engine, "through_gateway") is True
    refused = run_here("authorize", SHOP, "--gateway", "--code", "wrong")
    assert refused.returncode == 1
    assert "authorise anew with a fresh code" in refused.stderr


@pytest.mark.usefixtures("home")
def test_an_owner_who_says_no_ends_it(engine: Engine) -> None:
    with waiting() as (process, page):
        browse(page, deny="true")
        _, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "access_denied" in complaints
    assert "have the shop's owner agree" in complaints
    assert held(engine, "count(*)") == 0


@pytest.mark.usefixtures("home")
def test_an_answer_with_another_state_is_turned_away_and_the_right_one_still_counts() -> None:
    with waiting() as (process, page):
        # A stranger's page sends the browser to us with a code of the stranger's own.
        redirect_uri = unquote(page.split("redirect_uri=")[1].split("&")[0])
        slipped = requests.get(redirect_uri, params={"code": "theirs", "state": "theirs"}, timeout=60)
        assert slipped.status_code == 400
        assert requests.get(redirect_uri + "favicon.ico", timeout=60).status_code == 404
        assert process.poll() is None
        assert browse(page).status_code == 200
        said, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, complaints
    assert "another state than ours was turned away" in complaints
    assert "theirs" not in said + complaints


@pytest.mark.usefixtures("home")
def test_nobody_comes_back() -> None:
    gone = run_here("authorize", SHOP, "--wait", "1")
    assert gone.returncode == 1
    assert "no browser came back within 1 s" in gone.stderr
    assert "--paste" in gone.stderr


@pytest.mark.usefixtures("home")
def test_a_code_that_has_expired_is_refused_and_the_earlier_token_stays(play: Play, engine: Engine) -> None:
    assert run_here("authorize", SHOP, "--code", code_for(play)).returncode == 0
    earlier = held(engine, "sealed")
    late = code_for(play)
    play.clock.advance(601)
    refused = run_here("authorize", SHOP, "--code", late)
    assert refused.returncode == 1
    assert "authorize code is invalid or expired" in refused.stderr
    assert "authorise anew with a fresh code" in refused.stderr
    assert late not in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert held(engine, "sealed") == earlier


@pytest.mark.parametrize("play", [TWO_SHOPS], indirect=True)
@pytest.mark.usefixtures("home")
def test_another_seller_is_not_taken_for_this_one(play: Play, engine: Engine) -> None:
    assert run_here("authorize", SHOP, "--code", code_for(play)).returncode == 0
    earlier = held(engine, "sealed")
    refused = run_here("authorize", SHOP, "--code", code_for(play, shop=SECOND_SHOP.id))
    assert refused.returncode == 2
    assert f"seller account {SECOND_SHOP.user_id} agreed" in refused.stderr
    assert held(engine, "sealed") == earlier
    meant = run_here("authorize", SHOP, "--other-account", "--code", code_for(play, shop=SECOND_SHOP.id))
    assert meant.returncode == 0, meant.stderr


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "ORDER_PIPELINE_TOKEN_KEY is not set"),
        ("short", "ORDER_PIPELINE_TOKEN_KEY is no key"),
        (Fernet.generate_key().decode(), "ORDER_PIPELINE_TOKEN_KEY does not open the stored token of shop demo-shop"),
    ],
    # Named, as a key made anew would be another test's name in each process.
    ids=["missing", "malformed", "another"],
)
@pytest.mark.usefixtures("home")
def test_a_missing_or_wrong_key_gets_one_line(play: Play, key: str, said: str) -> None:
    assert run_here("authorize", SHOP, "--code", code_for(play)).returncode == 0
    refused = run("sync", ORDER_PIPELINE_TOKEN_KEY=key)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "order-pipeline authorize" in refused.stderr
    assert "Traceback" not in refused.stderr
    if not key or key == "short":
        unasked = run_here("authorize", SHOP, ORDER_PIPELINE_TOKEN_KEY=key)
        assert unasked.returncode == 2
        assert said in unasked.stderr
        assert len(unasked.stderr.strip().splitlines()) == 1


@pytest.mark.usefixtures("home")
def test_a_key_can_be_changed_and_is_made_by_the_command(play: Play) -> None:
    assert run_here("authorize", SHOP, "--code", code_for(play)).returncode == 0
    made = run_here("authorize", "--generate-key").stdout.strip()
    name, _, new = made.partition("=")
    assert name == "ORDER_PIPELINE_TOKEN_KEY"
    assert run_here("doctor", ORDER_PIPELINE_TOKEN_KEY=f"{new},{KEY}").returncode == 0
    assert run_here("doctor", ORDER_PIPELINE_TOKEN_KEY=new).returncode == 1


def test_the_stored_token_counts_more_than_the_configured_key_until_it_is_forgotten(home: Path, play: Play) -> None:
    write_shops(home, play, session_key="6100stale")
    assert "session_key" in run_here("doctor").stdout
    authorised = run_here("authorize", SHOP, "--code", code_for(play))
    assert "session_key in shops.yaml is no longer used" in authorised.stdout
    assert run_here("doctor").returncode == 0
    assert "its session_key counts again" in run_here("authorize", SHOP, "--forget").stdout
    assert run_here("doctor").returncode == 1
    write_shops(home, play, session_key=DEMO_SHOP.session_key)
    assert run_here("doctor").returncode == 0


@pytest.mark.usefixtures("home")
def test_a_shop_without_any_session_says_what_to_do() -> None:
    synced = run("sync", "--json")
    assert synced.returncode == 1
    (left,) = json.loads(synced.stdout)["left"]
    assert "it has not been authorised yet" in left
    assert "order-pipeline authorize demo-shop" in left
    (shop,) = json.loads(run_here("status", "--json").stdout)["shops"]
    assert "order-pipeline authorize demo-shop" in shop["held"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["authorize"], "name the shop"),
        (["authorize", "demo-shpo"], "authorize: no shop 'demo-shpo'; did you mean 'demo-shop'"),
        (["authorize", SHOP, "--port", "99999"], "99999"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_wrong_call_gets_one_line(arguments: list[str], said: str) -> None:
    refused = run_here(*arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_tokens_travel_over_https_only(home: Path, play: Play) -> None:
    write_shops(home, play, oauth_url="http://oauth.example.com")
    assert "key 'oauth_url' is no https address" in run_here("authorize", SHOP).stderr
    write_shops(home, play, gateway_url="http://gw.example.com/router/rest")
    assert "has to be an https address for --gateway" in run_here("authorize", SHOP, "--gateway").stderr
