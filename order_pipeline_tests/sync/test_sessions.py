"""Sessions over their life: renewed in time by one process, replaced under running work, refused, paused, mended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from msgspec.structs import replace
from sqlalchemy import Engine, text

from order_pipeline.configuration import ConfigurationError, Shop
from order_pipeline.platforms.protocol import Token
from order_pipeline.platforms.taobao.platform import TaobaoCredentials, TaobaoPlatform
from order_pipeline.sandbox.authorization import AuthorizationRules, TokenLifetimes
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.sandbox.shops import Shop as PlayedShop
from order_pipeline.sync.access import ShopAccess, open_authorizer
from order_pipeline.sync.due import no_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history
from order_pipeline.sync.renewal import describe
from order_pipeline.sync.sessions import ShopSession, store_surely, token_row
from order_pipeline.sync.shops import ShopsFailedError, for_each_shop
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import SessionError
from order_pipeline.traffic.gate import Gate
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.tokens import TokenRow
from order_pipeline_tests.conftest import NOON, QUICK_RETRY, Play
from order_pipeline_tests.proving import pass_over, proof
from order_pipeline_tests.sync.test_messages import SISTER

HOUR = timedelta(hours=1)
OTHER_SHOP = PlayedShop(
    id="other-shop",
    app_key="87654321",
    app_secret="another-secret",
    session_key="6100other0session",
    seller_nick="另一家店",
    user_id=2_200_000_000_002,
)
SHOPS = {shop.id: shop for shop in (DEMO_SHOP, OTHER_SHOP, SISTER)}
RULES = AuthorizationRules(
    lifetimes=TokenLifetimes(expires_in=7_200, re_expires_in=86_400), refreshes_per_hour=3, configured_sessions=False
)
STRICT: dict[str, Any] = {
    "shops": (DEMO_SHOP, OTHER_SHOP),
    "authorization": RULES,
    "orders": 300,
    "days": 5,
    "seed": 7,
    "driven_from": NOON,
}
# The shops' own keys are good without any authorisation.
LENIENT = {"authorization": AuthorizationRules()}
TODAY = NOON.date()


@pytest.fixture
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    """Two shops of two apps whose tokens are good for two hours; parametrize indirectly with other settings."""
    marketplace = open_marketplace(SandboxSettings(**STRICT | getattr(request, "param", {})))
    with SandboxServer(marketplace) as server:
        yield Play(marketplace, server)


@pytest.fixture(autouse=True)
def _token_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_PIPELINE_TOKEN_KEY", Fernet.generate_key().decode())


class Seller:
    """A shop of the play as the pipeline has it, and its owner."""

    def __init__(self, play: Play, engine: Engine, shop_id: str, session_key: str = "") -> None:
        played = SHOPS[shop_id]
        self.play, self.engine = play, engine
        self.shop = Shop(
            id=shop_id,
            platform="taobao",
            gateway_url=play.server.gateway_url,
            oauth_url=f"{play.server.url}/oauth",
            app_key=played.app_key,
            app_secret=played.app_secret,
            session_key=session_key,
        )
        self.authorizer = open_authorizer(self.shop, CallLog(), Gate())

    def authorise(self) -> TokenRow:
        with self.play.marketplace.looking() as now_ms:
            code = self.play.marketplace.authority.approve(self.shop.app_key, "x", self.shop.id, now_ms)
        token = self.authorizer.exchange(code, "x")
        row = token_row(self.shop, token, self.play.now, through_gateway=False, by="a test")
        store_surely(self.engine, row, ended_by="a test")
        return row

    def access(self) -> ShopAccess:
        """What a process of its own would open."""
        calls = CallLog()
        session = ShopSession(self.shop, self.engine, lambda _: self.authorizer, clock=lambda: self.play.now)
        credentials = TaobaoCredentials(
            shop_id=self.shop.id,
            gateway_url=self.shop.gateway_url,
            app_key=self.shop.app_key,
            app_secret=self.shop.app_secret,
        )
        platform = TaobaoPlatform(credentials, calls, clock=lambda: self.play.now, retry=QUICK_RETRY, session=session)
        return ShopAccess(self.shop, platform, calls, Gate(), session)

    @property
    def token(self) -> str:
        return self.play.marketplace.authority._tokens[self.shop.id].access_token


@pytest.fixture
def seller(play: Play, engine: Engine) -> Seller:
    return Seller(play, engine, DEMO_SHOP.id)


def row(engine: Engine, query: str) -> Any:
    with transaction(engine) as connection:
        return connection.execute(text(query)).one_or_none()


def refreshes(play: Play) -> int:
    """How often a token was asked for, beside the authorisations."""
    return play.marketplace.calls["oauth.token"]


def test_a_token_is_renewed_ahead_of_its_end_and_only_then(seller: Seller, play: Play, engine: Engine) -> None:
    seller.authorise()
    session, first = seller.access().session, seller.token
    assert session is not None
    play.clock.advance(5_700)
    assert session.key() == first
    # Four fifths of two hours are over.
    play.clock.advance(100)
    assert session.key() == seller.token != first
    assert refreshes(play) == 2
    found = row(engine, "SELECT ends_at, refreshes, refresh_problem FROM sync.token")
    assert tuple(found) == (play.now + 2 * HOUR, 1, None)


def test_work_goes_on_over_the_ends_of_many_tokens(seller: Seller, play: Play, engine: Engine) -> None:
    seller.authorise()
    access = seller.access()
    pass_over(engine, access)
    for _ in range(5):
        play.marketplace.place_order(DEMO_SHOP.id, lives=True)
        play.clock.advance(5_900)
        pass_over(engine, access)
    play.clock.advance(30)
    pass_over(engine, access)
    assert row(engine, "SELECT refreshes FROM sync.token")[0] >= 5
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


RENEWER = """
import sys
from order_pipeline.configuration import Shop
from order_pipeline.sync.access import open_shop
from order_pipeline.warehouse.database import connect
url, gateway, oauth, key, secret = sys.argv[1:]
shop = Shop(id="demo-shop", platform="taobao", gateway_url=gateway, oauth_url=oauth, app_key=key, app_secret=secret)
session = open_shop(shop, connect(url)).session
print("ready", flush=True)
sys.stdin.readline()
print(session.key(), flush=True)
"""


def test_of_two_processes_one_renews_and_both_go_on_with_its_token(
    seller: Seller, play: Play, engine: Engine, warehouse_url: str
) -> None:
    seller.authorise()
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.token SET next_refresh_at = now(), ends_at = now() + interval '1 hour'"))
    # Long enough for the other one to come while the first is at it.
    play.marketplace.faults.switch_on(Fault("latency", method="oauth.token", milliseconds=1_000))
    shop = seller.shop
    arguments = [warehouse_url, shop.gateway_url, str(shop.oauth_url), shop.app_key, shop.app_secret]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RENEWER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    keys = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert keys == [seller.token] * 2
    assert refreshes(play) == 2
    assert row(engine, "SELECT refreshes FROM sync.token")[0] == 1


def test_a_token_that_another_process_renewed_is_picked_up_in_the_middle_of_work(
    seller: Seller, play: Play, engine: Engine
) -> None:
    seller.authorise()
    access, other = seller.access(), seller.access()
    assert access.session
    assert other.session
    list_history(access, engine, TODAY, access.platform.now())
    old = access.session.key()
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.token SET next_refresh_at = '2000-01-01'"))
    assert other.session.key() != old
    # The sandbox ended the old token with that; the first process still believes in it.
    drain(access, engine)
    assert row(engine, "SELECT count(*) FROM core.orders WHERE detail_modified_at IS NULL")[0] == 0
    assert row(engine, "SELECT 1 FROM sync.shop_pause") is None
    assert refreshes(play) == 2


def test_too_many_refreshes_leave_the_token_as_it_is(seller: Seller, play: Play, engine: Engine) -> None:
    seller.authorise()
    session = seller.access().session
    assert session is not None
    for _ in range(5):
        with transaction(engine) as connection:
            connection.execute(text("UPDATE sync.token SET next_refresh_at = '2000-01-01'"))
        seller.access().session.key()  # type: ignore[union-attr]
    found = row(engine, "SELECT refreshes, refresh_problem, next_refresh_at, ends_at FROM sync.token")
    assert found[0] == 3
    assert "refresh times limit exceed" in found[1]
    assert found[2] == play.now + HOUR
    assert seller.access().session.key() == seller.token  # type: ignore[union-attr]
    assert row(engine, "SELECT 1 FROM sync.shop_pause") is None
    # And it is renewed when the hour is over.
    play.clock.advance(3_601)
    assert seller.access().session.key() == seller.token  # type: ignore[union-attr]
    assert row(engine, "SELECT refreshes, refresh_problem FROM sync.token") == (4, None)


def test_an_oauth_server_that_is_away_stops_nothing_while_the_token_is_good(
    seller: Seller, play: Play, engine: Engine
) -> None:
    seller.authorise()
    play.marketplace.faults.switch_on(Fault("http_error", method="oauth.token", status=503))
    play.clock.advance(6_000)
    access = seller.access()
    pass_over(engine, access)
    asked = refreshes(play)
    pass_over(engine, access)
    # It was not asked again with every call.
    assert refreshes(play) == asked
    assert "503" in row(engine, "SELECT refresh_problem FROM sync.token")[0]
    # The token ends meanwhile: work waits, and no person is sent for.
    play.clock.advance(1_300)
    with pytest.raises(ShopsFailedError, match="renewed in a minute"):
        for_each_shop([seller.access()], engine, lambda one: pass_over(engine, one))
    assert row(engine, "SELECT 1 FROM sync.shop_pause") is None
    play.marketplace.faults.clear()
    play.clock.advance(61)
    access = seller.access()
    pass_over(engine, access)
    play.clock.advance(30)
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_an_expired_session_with_a_good_refresh_token_is_mended_without_anybody(
    seller: Seller, play: Play, engine: Engine
) -> None:
    seller.authorise()
    access = seller.access()
    list_history(access, engine, TODAY, access.platform.now())
    play.clock.advance(120)
    play.marketplace.expire_session(DEMO_SHOP.id)
    drain(access, engine)
    assert row(engine, "SELECT count(*) FROM core.orders WHERE detail_modified_at IS NULL")[0] == 0
    assert row(engine, "SELECT refreshes FROM sync.token")[0] == 1
    assert row(engine, "SELECT 1 FROM sync.shop_pause") is None


def test_a_session_refused_once_by_mistake_pauses_nothing(seller: Seller, play: Play, engine: Engine) -> None:
    seller.authorise()
    access = seller.access()
    play.marketplace.faults.switch_on(Fault("session_expired", method="taobao.trades.sold.get", count=1))
    pass_over(engine, access)
    assert refreshes(play) == 1
    assert row(engine, "SELECT 1 FROM sync.shop_pause") is None


def test_a_withdrawn_authorisation_pauses_its_shop_alone_and_nothing_is_lost(
    seller: Seller, play: Play, engine: Engine
) -> None:
    other = Seller(play, engine, OTHER_SHOP.id)
    for each in (seller, other):
        each.authorise()
    accesses = [seller.access(), other.access()]
    for_each_shop(accesses, engine, lambda access: pass_over(engine, access))
    # Withdrawn in the middle of a pass: lists are in, details are not.
    play.clock.advance(600)
    for shop in (DEMO_SHOP.id, OTHER_SHOP.id):
        for trade in [trade.tid for trade, _ in play.marketplace.ledger(shop).versions()][:30]:
            play.marketplace.edit_memo(shop, trade, "changed")
    play.clock.advance(30)
    play.marketplace.revoke_authorization(DEMO_SHOP.id)
    with pytest.raises(ShopsFailedError, match="1 of 2 shops failed: shop demo-shop") as caught:
        for_each_shop(accesses, engine, lambda access: pass_over(engine, access))
    assert "order-pipeline authorize" in str(caught.value)
    pause = row(engine, "SELECT shop_id, paused_by, reason FROM sync.shop_pause WHERE ended_at IS NULL")
    assert pause[0] == DEMO_SHOP.id
    assert "@" in pause[1]
    assert "invalid-sessionkey" in pause[2]
    assert "taobao.trades.sold.increment.get" in pause[2]
    found = proof(engine, accesses[1], play.server.url)
    assert found.equal, found.examples
    # From then on it is passed over by every process without a call, and says why.
    fresh = seller.access()
    fresh.platform.now()
    before = play.marketplace.statistics()["calls"]
    (skipped,) = for_each_shop([fresh], engine, lambda _: no_work(fresh, "worked"), skipped=no_work)
    assert "paused since" in skipped.explanation
    assert "order-pipeline authorize demo-shop" in skipped.explanation
    with pytest.raises(SessionError, match="paused since"):
        fresh.platform.order("1234567890123456789")
    assert play.marketplace.statistics()["calls"] == before
    # Days later the owner agrees again.
    play.clock.advance(2 * 86_400)
    play.marketplace.place_order(DEMO_SHOP.id)
    other.authorise()
    seller.authorise()
    for _ in range(2):
        for_each_shop(accesses, engine, lambda access: pass_over(engine, access))
        play.clock.advance(30)
    for access in accesses:
        found = proof(engine, access, play.server.url)
        assert found.equal, found.examples
    assert tuple(row(engine, "SELECT ended_by, ending FROM sync.shop_pause")) == ("a test", "authorised again")


def test_a_refresh_token_that_was_revoked_sends_for_a_person_only_at_the_end(
    seller: Seller, play: Play, engine: Engine
) -> None:
    seller.authorise()
    tokens = play.marketplace.authority._tokens
    tokens[DEMO_SHOP.id] = replace(tokens[DEMO_SHOP.id], refresh_token="another one")
    play.clock.advance(6_000)
    access = seller.access()
    pass_over(engine, access)
    problem, next_refresh_at = row(engine, "SELECT refresh_problem, next_refresh_at FROM sync.token")
    assert "refresh_token is invalid" in problem
    assert next_refresh_at is None
    assert access.session
    known = access.session.token()
    assert known is not None
    assert "authorise again before: order-pipeline authorize demo-shop" in describe(known, play.now)
    play.clock.advance(1_300)
    with pytest.raises(ShopsFailedError):
        for_each_shop([access], engine, lambda one: pass_over(engine, one))
    assert row(engine, "SELECT shop_id FROM sync.shop_pause WHERE ended_at IS NULL") is not None


@pytest.mark.parametrize("play", [LENIENT], indirect=True)
def test_a_configured_key_is_used_without_a_token_and_a_new_one_ends_the_pause(play: Play, engine: Engine) -> None:
    wrong = Seller(play, engine, DEMO_SHOP.id, session_key="6100wrong").access()
    with pytest.raises(ShopsFailedError):
        for_each_shop([wrong], engine, lambda access: list_history(access, engine, TODAY, access.platform.now()))
    assert wrong.hold is not None
    assert "put a new session_key into shops.yaml" in wrong.hold
    right = Seller(play, engine, DEMO_SHOP.id, session_key=DEMO_SHOP.session_key).access()
    assert right.hold is None
    for_each_shop([right], engine, lambda access: list_history(access, engine, TODAY, access.platform.now()))
    assert row(engine, "SELECT ending FROM sync.shop_pause")[0] == "there is another session"


@pytest.mark.parametrize("play", [LENIENT], indirect=True)
def test_a_pause_that_is_no_longer_true_is_another_ones_to_end(play: Play, engine: Engine) -> None:
    """The platform took the same key back: nobody asks it by himself, so a person does (order-pipeline doctor)."""
    access = Seller(play, engine, DEMO_SHOP.id, session_key=DEMO_SHOP.session_key).access()
    play.marketplace.expire_session(DEMO_SHOP.id)
    with pytest.raises(ShopsFailedError):
        for_each_shop([access], engine, lambda one: list_history(one, engine, TODAY, one.platform.now()))
    play.marketplace.renew_session(DEMO_SHOP.id)
    assert access.hold is not None
    assert access.session is not None
    access.session.resume("tried by a test")
    assert access.hold is None


def test_no_representation_and_no_table_shows_a_token(seller: Seller, engine: Engine, play: Play) -> None:
    seller.authorise()
    secret = seller.token
    refresh = play.marketplace.authority._tokens[DEMO_SHOP.id].refresh_token
    token = Token(
        access_token=secret,
        refresh_token=refresh,
        expires_in=1,
        refresh_expires_in=1,
        account=None,
        account_name=None,
    )
    stored = row(engine, "SELECT t::text FROM sync.token t")[0]
    for shown in (repr(token), stored, repr(seller.access())):
        assert secret not in shown
        assert refresh not in shown


def test_the_wrong_key_stops_before_any_call(
    seller: Seller, play: Play, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seller.authorise()
    monkeypatch.setenv("ORDER_PIPELINE_TOKEN_KEY", Fernet.generate_key().decode())
    before = play.marketplace.statistics()["calls"]
    with pytest.raises(ConfigurationError, match="does not open the stored token of shop demo-shop"):
        for_each_shop([seller.access()], engine, lambda access: pass_over(engine, access))
    assert play.marketplace.statistics()["calls"] == before
