"""Lists and messages, each alone and both in any disorder: the tables end equal to the platform."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from order_pipeline.platforms.protocol import MessageBatch, OrderPage, Window
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.messages import queues_of, read_messages, store_batch
from order_pipeline.sync.storing import order_lists
from order_pipeline.sync.windows import day_of
from order_pipeline.traffic.errors import CallError
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.message_queues import read_sellers
from order_pipeline.warehouse.watermarks import INCREMENTS
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import hear, now_due, pass_over, proof

SHOP = "demo-shop"
DETAIL = "taobao.trade.fullinfo.get"
LISTS = ("taobao.trades.sold.get", "taobao.trades.sold.increment.get", "taobao.time.get")
A_DAY = 86_400
STEP_SECONDS = 900

Delivery: TypeAlias = OrderPage | MessageBatch


def tids(play: Play) -> list[int]:
    with play.marketplace.looking():
        return [trade.tid for trade, _ in play.marketplace.ledger(SHOP).versions()]


def live_on(play: Play, chance: random.Random) -> None:
    """Let a quarter of an hour pass in the shop: new orders that live, memos, and what the others do anyway."""
    for _ in range(3):
        play.marketplace.place_order(SHOP, lives=True, speed=20)
    for tid in chance.sample(tids(play), 5):
        play.marketplace.edit_memo(SHOP, tid, f"memo {chance.random()}")
    play.clock.advance(STEP_SECONDS)


def settle(engine: Engine, access: ShopAccess, play: Play) -> None:
    """Fetch what waits for a later second."""
    play.clock.advance(5)
    now_due(engine)
    drain(access, engine)


def test_a_day_without_messages_costs_nothing_but_seconds(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    hear(engine, access)
    play.marketplace.faults.switch_on(Fault(name="message_lost"))
    chance = random.Random(3)
    for _ in range(A_DAY // STEP_SECONDS):
        live_on(play, chance)
        hear(engine, access)
        pass_over(engine, access)
    settle(engine, access, play)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM raw.message")).scalar() == 0
    play.marketplace.faults.clear()
    play.marketplace.edit_memo(SHOP, tids(play)[0], "messages are back")
    play.clock.advance(5)
    assert hear(engine, access).new == 1
    assert proof(engine, access, play.server.url).equal


def test_a_day_without_polling_costs_nothing_at_all(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    hear(engine, access)
    for method in LISTS[:2]:
        play.marketplace.faults.switch_on(Fault(name="http_error", method=method, label=method))
    chance = random.Random(4)
    for _ in range(A_DAY // STEP_SECONDS):
        live_on(play, chance)
        with pytest.raises(CallError):
            pass_over(engine, access)
        hear(engine, access)
    settle(engine, access, play)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples
    # The polls come back to a day that the messages have brought already: no detail is fetched again.
    play.marketplace.faults.clear()
    details = access.calls.total_by_method[DETAIL]
    changes = _changes(engine)
    pass_over(engine, access)
    assert access.calls.total_by_method[DETAIL] - details <= 0.02 * changes
    assert proof(engine, access, play.server.url).equal


def test_both_channels_together_fetch_each_change_once(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    hear(engine, access)
    settle(engine, access, play)
    details = access.calls.total_by_method[DETAIL]
    chance = random.Random(5)
    fetched_at_most = 0
    before = _versions(play)
    for number in range(30):
        live_on(play, chance)
        play.clock.advance(chance.choice([3, 10, 40]))
        after = _versions(play)
        fetched_at_most += sum(after[tid] != before.get(tid) for tid in after)
        before = after
        for channel in (hear, pass_over) if number % 2 else (pass_over, hear):
            channel(engine, access)
    fetched = access.calls.total_by_method[DETAIL] - details
    assert fetched_at_most > 200
    assert fetched <= 1.02 * fetched_at_most
    settle(engine, access, play)
    assert proof(engine, access, play.server.url).equal


def test_what_was_published_longer_ago_than_messages_are_kept_is_brought_by_the_lists(
    engine: Engine, play: Play
) -> None:
    access = play.access()
    pass_over(engine, access)
    hear(engine, access)
    chance = random.Random(6)
    for _ in range(30 * 3600 // STEP_SECONDS):
        live_on(play, chance)
    hear(engine, access)
    assert not proof(engine, access, play.server.url).equal
    pass_over(engine, access)
    settle(engine, access, play)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


@pytest.mark.parametrize("kind", ["unknown_topic", "unknown_seller", "broken_content", "ids_as_text"])
def test_spoilt_repeated_and_late_messages_leave_the_tables_right(engine: Engine, play: Play, kind: str) -> None:
    access = play.access()
    pass_over(engine, access)
    hear(engine, access)
    play.marketplace.faults.switch_on(Fault(name="message_spoilt", rate=0.2, seed=1, kind=kind))
    play.marketplace.faults.switch_on(Fault(name="message_repeated", rate=0.3, seed=2, seconds=700))
    play.marketplace.faults.switch_on(Fault(name="message_held", rate=0.3, seed=3, seconds=2000))
    play.marketplace.faults.switch_on(Fault(name="message_lost", rate=0.1, seed=4))
    chance = random.Random(7)
    for _ in range(20):
        live_on(play, chance)
        hear(engine, access)
        pass_over(engine, access)
    settle(engine, access, play)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def _changes(engine: Engine) -> int:
    with transaction(engine) as connection:
        query = "SELECT count(*) FROM (SELECT DISTINCT order_id, published_at FROM raw.message) AS changes"
        return int(connection.execute(text(query)).scalar_one())


def _versions(play: Play) -> dict[int, int]:
    with play.marketplace.looking():
        return {trade.tid: trade.version for trade, _ in play.marketplace.ledger(SHOP).versions()}


class Recorded:
    """A play of two hours that is over, everything that was said about it, and the platform as it is now."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.deliveries: list[Delivery] = []
        access = play.access()
        access.platform.permit_messages()
        today = Window(NOON.replace(hour=0), NOON)
        chance = random.Random(8)
        everything = tids(play)
        for number in range(12):
            for tid in chance.sample(everything, 4):
                play.marketplace.edit_memo(SHOP, tid, f"memo {number}")
            everything.append(play.marketplace.place_order(SHOP, lives=True, speed=1000))
            play.clock.advance(chance.choice([1, 30, 600]))
            batch = access.platform.messages(None)
            access.platform.confirm_messages(None, [message.message_id for message in batch.messages])
            self.deliveries.append(batch)
            now = access.platform.now()
            self.deliveries += access.platform.changed_orders(Window(today.start, now))
        for day in range(9):
            start = today.start.replace(day=day_of(NOON).day - day)
            created = Window(start, min(access.platform.now(), start.replace(day=start.day + 1)))
            self.deliveries += access.platform.created_orders(created)
        play.clock.advance(30)


@pytest.fixture(scope="module")
def recorded() -> Iterator[Recorded]:
    marketplace = open_marketplace(SandboxSettings(orders=40, days=5, seed=7, driven_from=NOON))
    with SandboxServer(marketplace) as server:
        yield Recorded(Play(marketplace, server))


def deliver(engine: Engine, access: ShopAccess, delivery: Delivery) -> None:
    if isinstance(delivery, MessageBatch):
        (queue,) = queues_of([access])
        with transaction(engine) as connection:
            sellers = read_sellers(connection, access.shop.app_key, [SHOP])
        store_batch(queue, sellers, engine, delivery)
    else:
        lists = order_lists(access, INCREMENTS)
        with transaction(engine) as connection:
            lists.begin(connection)
            lists.merge(connection, lists.stage(connection, [delivery]).rows)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_order_and_number_of_deliveries_ends_in_the_same_tables(
    engine: Engine, recorded: Recorded, data: st.DataObject
) -> None:
    _empty(engine)
    access = recorded.play.access()
    count = len(recorded.deliveries)
    order = data.draw(st.permutations(range(count)))
    again = data.draw(st.lists(st.integers(0, count - 1), max_size=10))
    drained_after = data.draw(st.sets(st.integers(0, count - 1), max_size=6))
    for number, index in enumerate([*order, *again]):
        deliver(engine, access, recorded.deliveries[index])
        if number in drained_after:
            drain(access, engine)
    now_due(engine)
    drain(access, engine)
    found = proof(engine, access, recorded.play.server.url)
    assert found.equal, found.examples
    assert access.calls.total_by_method[DETAIL] == found.orders


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.integers(0, 9)),
        st.tuples(st.just("order"), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([0.2, 0.7, 1, 2, 5, 400])),
        st.tuples(st.just("messages"), st.just(0)),
        st.tuples(st.just("lists"), st.just(0)),
        st.tuples(st.just("details"), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=STEPS, last=st.sampled_from(["messages", "lists"]))
def test_whatever_happens_between_the_looks_one_channel_at_the_end_is_enough(
    engine: Engine, steps: list[tuple[str, float]], last: str
) -> None:
    _empty(engine)
    marketplace = open_marketplace(SandboxSettings(orders=10, days=2, seed=7, driven_from=NOON))
    with SandboxServer(marketplace) as server:
        play = Play(marketplace, server)
        access = play.access()
        read_messages([access], engine)
        pass_over(engine, access)
        for step, value in steps:
            if step == "change":
                play.marketplace.edit_memo(SHOP, tids(play)[int(value)], f"memo {play.now}")
            elif step == "order":
                play.marketplace.place_order(SHOP)
            elif step == "wait":
                play.clock.advance(value)
            elif step == "messages":
                read_messages([access], engine)
            elif step == "lists":
                pass_over(engine, access)
            else:
                now_due(engine)
                drain(access, engine)
        play.clock.advance(10)
        if last == "messages":
            hear(engine, access)
        else:
            pass_over(engine, access)
        settle(engine, access, play)
        found = proof(engine, access, server.url)
        assert found.equal, found.examples


def _empty(engine: Engine) -> None:
    with transaction(engine) as connection:
        tables = connection.execute(
            text("SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('raw', 'core', 'sync')")
        ).scalars()
        names = ", ".join(name for name in tables if not name.endswith("alembic_version"))
        connection.execute(text(f"TRUNCATE {names}"))
