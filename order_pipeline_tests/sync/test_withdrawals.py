"""A seller takes the authorisation back: the message pauses that shop before any of its calls is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from order_pipeline.platforms.protocol import Message, MessageBatch
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.messages import MessageQueue, read_messages, store_batch
from order_pipeline.sync.withdrawals import CLOCK_ERROR, ends
from order_pipeline.traffic.errors import SessionError
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.message_queues import KnownSession
from order_pipeline.warehouse.message_queues import Seller as KnownSeller
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import pass_over, proof
from order_pipeline_tests.sync.test_messages import CONFIRM, SISTER, rows
from order_pipeline_tests.sync.test_sessions import LENIENT, STRICT, Seller

TOPIC = "taobao_top_AuthCancel"
PAUSED = "SELECT shop_id FROM sync.shop_pause WHERE ended_at IS NULL"


@pytest.fixture
def play(request: pytest.FixtureRequest) -> Iterator[Play]:
    """Two shops of one app, whose messages come in one queue; parametrize indirectly with other settings."""
    wanted = STRICT | {"shops": (DEMO_SHOP, SISTER), "orders": 60} | getattr(request, "param", {})
    marketplace = open_marketplace(SandboxSettings(**wanted))
    with SandboxServer(marketplace) as server:
        yield Play(marketplace, server)


@pytest.fixture(autouse=True)
def _token_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_PIPELINE_TOKEN_KEY", Fernet.generate_key().decode())


@pytest.fixture
def sellers(play: Play, engine: Engine) -> list[Seller]:
    """Both shops authorised and permitted, fifteen minutes ago."""
    sellers = [Seller(play, engine, shop.id) for shop in (DEMO_SHOP, SISTER)]
    for seller in sellers:
        seller.authorise()
    read_messages([seller.access() for seller in sellers], engine)
    play.clock.advance(900)
    return sellers


def listen(engine: Engine, sellers: list[Seller]) -> tuple[list[ShopAccess], tuple[str, ...], str]:
    accesses = [seller.access() for seller in sellers]
    (reading,) = read_messages(accesses, engine)
    assert reading.failure is None
    return accesses, reading.withdrawn, reading.words


def test_exactly_that_shop_is_paused_and_no_call_of_it_was_refused(
    play: Play, engine: Engine, sellers: list[Seller]
) -> None:
    play.marketplace.revoke_authorization(DEMO_SHOP.id)
    accesses, withdrawn, words = listen(engine, sellers)
    assert withdrawn == (DEMO_SHOP.id,)
    assert "order-pipeline authorize demo-shop" in words
    assert rows(engine, PAUSED) == [DEMO_SHOP.id]
    assert rows(engine, "SELECT count(*) FROM sync.call WHERE outcome <> 'ok'") == [0]
    assert accesses[1].hold is None
    assert accesses[0].hold is not None
    assert "withdrew the authorisation at 2026-03-15 04:15:00 UTC" in accesses[0].hold
    with pytest.raises(SessionError, match="withdrew"):
        accesses[0].platform.order("1234567890123456789")
    # The next readings go on for the other one, and ask nothing for this one.
    calls = play.marketplace.statistics()["calls"]["taobao.tmc.user.permit"]
    play.clock.advance(60)
    assert listen(engine, sellers)[1] == ()
    assert play.marketplace.statistics()["calls"]["taobao.tmc.user.permit"] == calls


def test_a_shop_that_was_authorised_again_is_not_paused_by_the_old_message(
    play: Play, engine: Engine, sellers: list[Seller]
) -> None:
    play.marketplace.revoke_authorization(DEMO_SHOP.id)
    play.clock.advance(1_200)
    sellers[0].authorise()
    # Read late, and, since it cannot be confirmed, again and again.
    play.marketplace.faults.switch_on(Fault("http_error", method=CONFIRM))
    accesses = [seller.access() for seller in sellers]
    (reading,) = read_messages(accesses, engine)
    assert reading.failure is not None
    play.marketplace.faults.clear()
    play.clock.advance(3_600)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.message_queue SET paused_until = '-infinity'"))
    accesses, withdrawn, _ = listen(engine, sellers)
    assert withdrawn == ()
    assert rows(engine, PAUSED) == []
    assert rows(engine, f"SELECT deliveries FROM raw.message WHERE topic = '{TOPIC}'") == [2]
    # And its messages, whose permit ended with the authorisation, come again.
    new = play.marketplace.place_order(DEMO_SHOP.id)
    play.clock.advance(5)
    listen(engine, sellers)
    assert rows(engine, "SELECT order_id FROM raw.message WHERE order_id IS NOT NULL") == [str(new)]
    for access in accesses:
        pass_over(engine, access)
        assert proof(engine, access, play.server.url).equal


def test_withdrawn_a_second_time_it_is_paused_a_second_time(play: Play, engine: Engine, sellers: list[Seller]) -> None:
    for _ in range(2):
        play.marketplace.revoke_authorization(DEMO_SHOP.id)
        assert listen(engine, sellers)[1] == (DEMO_SHOP.id,)
        play.clock.advance(1_200)
        sellers[0].authorise()
        listen(engine, sellers)
        assert rows(engine, PAUSED) == []
        play.clock.advance(1_200)
    assert rows(engine, "SELECT count(*) FROM sync.shop_pause") == [2]


@pytest.mark.parametrize("play", [LENIENT], indirect=True)
def test_a_configured_key_is_withdrawn_too_unless_it_is_newer_than_the_message(play: Play, engine: Engine) -> None:
    told = message("1", play.now)
    for known_before, expected in ((timedelta(hours=1), [SISTER.id]), (timedelta(0), [])):
        seller = Seller(play, engine, SISTER.id, session_key=SISTER.session_key)
        queue = MessageQueue(SISTER.app_key, "", (seller.access(),))
        with transaction(engine) as connection:
            connection.execute(text("DELETE FROM sync.shop_pause"))
            connection.execute(text("DELETE FROM raw.message"))
        read_messages(queue.accesses, engine)
        with transaction(engine) as connection:
            connection.execute(
                text("UPDATE sync.message_seller SET session_since = :since"), {"since": play.now - known_before}
            )
        store_batch(queue, [known(SISTER.seller_nick)], engine, MessageBatch(messages=(told,), received_at=play.now))
        assert rows(engine, PAUSED) == expected
        assert rows(engine, "SELECT count(*) FROM sync.call WHERE outcome <> 'ok'") == [0]
        assert (seller.access().hold is None) == (not expected)


def test_a_stranger_pauses_nobody_even_where_the_only_shop_has_no_name_yet(
    play: Play, engine: Engine, sellers: list[Seller]
) -> None:
    queue = MessageQueue(SISTER.app_key, "", (sellers[1].access(),))
    batch = MessageBatch(messages=(message("1", play.now),), received_at=play.now)
    assert store_batch(queue, [known(None)], engine, batch).withdrawn == ()
    assert store_batch(queue, [known("somebody else")], engine, batch).withdrawn == ()
    assert rows(engine, PAUSED) == []


def message(message_id: str, published_at: datetime) -> Message:
    return Message(
        message_id=message_id,
        confirmable=True,
        topic=TOPIC,
        known_topic=True,
        seller_id=None,
        seller_nick=SISTER.seller_nick,
        published_at=published_at,
        order_id=None,
        refund_id=None,
        content="{}",
        problem=None,
        withdraws=True,
    )


def known(nick: str | None) -> KnownSeller:
    return KnownSeller(SISTER.id, nick, None, True, None, False, False)


MINUTES = st.integers(-120, 120)


@settings(max_examples=200)
@given(authorised=MINUTES, withdrawn=MINUTES, error=st.integers(-9, 9))
def test_a_session_that_began_after_its_withdrawal_never_ends_however_wrong_our_clock_is(
    authorised: int, withdrawn: int, error: int
) -> None:
    session = KnownSession("x", NOON + timedelta(minutes=authorised + error))
    ended = ends(session, NOON + timedelta(minutes=withdrawn))
    if authorised >= withdrawn:
        assert not ended
    if withdrawn - authorised > 2 * CLOCK_ERROR / timedelta(minutes=1):
        assert ended
    assert not ends(session, None)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 1, 0, 2, 0), (0, 0, 0)])
def test_in_any_order_and_number_only_what_is_newer_than_the_session_counts(
    play: Play, engine: Engine, sellers: list[Seller], order: tuple[int, ...]
) -> None:
    # Two of earlier authorisations, and the third of this one.
    moments = [play.now - timedelta(hours=hours) for hours in (30, 3, 0)]
    queue = MessageQueue(SISTER.app_key, "", (sellers[1].access(),))
    for number in order:
        batch = MessageBatch(messages=(message(str(number), moments[number]),), received_at=play.now)
        store_batch(queue, [known(SISTER.seller_nick)], engine, batch)
    assert rows(engine, PAUSED) == ([SISTER.id] if 2 in order else [])
