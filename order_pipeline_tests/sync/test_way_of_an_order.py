"""The way of an order, against the sandbox over HTTP and a real Postgres, on a driven clock."""

from __future__ import annotations

import random
import threading
from datetime import datetime, timedelta

import pytest
import requests
from sqlalchemy import Engine, text

from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_changes, list_history, list_history_days
from order_pipeline.sync.shops import ShopsFailedError, for_each_shop
from order_pipeline.sync.windows import SETTLE_LAG, day_of
from order_pipeline.traffic.errors import AuthorizationError, MalformedAnswerError, TransientError
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.watermarks import begin_watermark, loaded_history_days, read_watermark
from order_pipeline.warehouse.worklist import Said, depth, say_changed
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import pass_over, proof

SHOP = "demo-shop"
TODAY = day_of(NOON)


def value(engine: Engine, query: str) -> object:
    with transaction(engine) as connection:
        return connection.execute(text(query)).scalar()


def watermark(engine: Engine) -> datetime:
    with transaction(engine) as connection:
        held = read_watermark(connection, SHOP)
    assert held is not None
    return held


def tids(play: Play) -> list[int]:
    with play.marketplace.looking():
        return [trade.tid for trade, _ in play.marketplace.ledger(SHOP).versions()]


def test_after_the_first_pass_the_tables_equal_the_platform(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples
    assert found.orders == 300


def test_orders_that_keep_changing_are_followed(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    chance = random.Random(1)
    everything = tids(play)
    for _ in range(15):
        for tid in chance.sample(everything, 20):
            play.marketplace.edit_memo(SHOP, tid, f"memo {chance.random()}")
        everything.append(play.marketplace.place_order(SHOP, lives=True))
        play.clock.advance(chance.choice([1, 7, 40, 300]))
        pass_over(engine, access)
    play.clock.advance(10)
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples
    assert found.orders == 315


def test_days_without_a_pass_are_caught_up_day_by_day(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    play.clock.advance(3 * 86_400)
    days = pass_over(engine, access)
    assert days == [TODAY + timedelta(days=number) for number in range(4)]
    assert watermark(engine) == play.now - SETTLE_LAG
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_a_second_pass_with_nothing_new_costs_two_calls_and_moves_the_watermark(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    play.clock.advance(600)
    pass_over(engine, access)
    play.clock.advance(600)
    before = access.calls.total
    work = due_work(access, engine)
    assert work.changed_days == ()
    assert "are known" in work.explanation
    assert access.calls.total - before == 2
    assert watermark(engine) == play.now - SETTLE_LAG


def test_no_order_is_fetched_twice_for_one_change(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    # Deposits and the like that fell into the seconds around the load are fetched once more; nothing else is.
    assert access.calls.total_by_method["taobao.trade.fullinfo.get"] <= 303
    for tid in tids(play)[:50]:
        play.marketplace.edit_memo(SHOP, tid, "changed")
    play.clock.advance(30)
    before = access.calls.total_by_method["taobao.trade.fullinfo.get"]
    pass_over(engine, access)
    play.clock.advance(30)
    pass_over(engine, access)
    fetched = access.calls.total_by_method["taobao.trade.fullinfo.get"] - before
    assert 50 <= fetched <= 53


@pytest.mark.parametrize("play", [{"bounds": "inclusive"}], indirect=True)
def test_a_change_later_in_the_same_second_is_not_missed(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    tid = tids(play)[0]
    play.clock.advance(60)
    play.marketplace.edit_memo(SHOP, tid, "first")
    pass_over(engine, access)
    # Same whole second, so the list shows nothing new.
    play.marketplace.edit_memo(SHOP, tid, "second")
    with transaction(engine) as connection:
        assert depth(connection, SHOP).later == 1
        connection.execute(text("UPDATE sync.pending_order SET due_at = now()"))
    play.clock.advance(4)
    drain(access, engine)
    assert value(engine, f"SELECT seller_memo FROM core.orders WHERE order_id = '{tid}'") == "second"


def test_a_day_is_marked_only_when_it_is_loaded(engine: Engine, play: Play) -> None:
    access = play.access()
    play.marketplace.faults.switch_on(Fault(name="http_error", method="taobao.trades.sold.get"))
    with pytest.raises(TransientError):
        list_history(access, engine, TODAY, access.platform.now())
    with transaction(engine) as connection:
        assert loaded_history_days(connection, SHOP) == set()
    play.marketplace.faults.clear()
    list_history(access, engine, TODAY, access.platform.now())
    with transaction(engine) as connection:
        assert loaded_history_days(connection, SHOP) == {TODAY}


def test_of_days_that_are_listed_at_once_the_complete_ones_are_marked_and_a_failure_ends_all(
    engine: Engine, play: Play
) -> None:
    access = play.access(10)
    now = access.platform.now()
    days = [TODAY - timedelta(days=back) for back in range(6, -1, -1)]
    # Some pages come before it strikes, and it outlasts the retries of every day that is at work.
    play.marketplace.faults.switch_on(Fault(name="http_error", method="taobao.trades.sold.get", rate=0.7, seed=3))
    with pytest.raises(TransientError):
        list_history_days(access, engine, days, now)
    with transaction(engine) as connection:
        assert loaded_history_days(connection, SHOP) != set(days)
    play.marketplace.faults.clear()
    before = access.calls.total
    listings = list_history_days(access, engine, days, now)
    assert sum(listing.calls for listing in listings) == access.calls.total - before
    assert sum(listing.stored.listed for listing in listings) >= 300
    with transaction(engine) as connection:
        assert loaded_history_days(connection, SHOP) == set(days)
    drain(access, engine)
    assert proof(engine, access, play.server.url).equal


@pytest.mark.parametrize("fault", ["html", "empty_body", "truncated"])
def test_a_broken_answer_is_never_read_as_no_data(engine: Engine, play: Play, fault: str) -> None:
    access = play.access()
    with transaction(engine) as connection:
        begin_watermark(connection, SHOP, NOON - timedelta(hours=1))
    play.marketplace.faults.switch_on(Fault(name=fault, method="taobao.trades.sold.increment.get"))
    with pytest.raises(MalformedAnswerError):
        list_changes(access, engine, TODAY, access.platform.now())
    assert watermark(engine) == NOON - timedelta(hours=1)


def test_stumbling_calls_are_made_again_and_nothing_is_lost(engine: Engine, play: Play) -> None:
    access = play.access()
    play.marketplace.faults.switch_on(Fault(name="http_error", rate=0.1, seed=3))
    play.marketplace.faults.switch_on(Fault(name="truncated", rate=0.1, seed=5))
    for _ in range(20):
        try:
            pass_over(engine, access)
        except (TransientError, MalformedAnswerError):
            continue
        with transaction(engine) as connection:
            connection.execute(text("UPDATE sync.pending_order SET due_at = now()"))
    play.marketplace.faults.clear()
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.pending_order SET due_at = now()"))
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


@pytest.mark.parametrize("poison", ["nul", "lone_surrogate", "no_orders", "money_text", "money_nan", "huge_tid"])
def test_a_poisoned_record_is_quarantined_and_the_rest_loads(engine: Engine, play: Play, poison: str) -> None:
    access = play.access()
    play.marketplace.faults.switch_on(Fault(name="poison", rate=0.02, seed=11, kind=poison))
    pass_over(engine, access)
    held = value(engine, "SELECT count(DISTINCT order_id) FROM sync.quarantine WHERE resolved_at IS NULL")
    whole = value(engine, "SELECT count(detail_modified_at) FROM core.orders")
    assert isinstance(held, int)
    assert isinstance(whole, int)
    assert value(engine, "SELECT count(*) FROM sync.quarantine") != 0
    assert 280 <= whole <= 300
    assert value(engine, "SELECT bool_and(length(reason) > 5 AND length(body) > 50) FROM sync.quarantine") is True
    # Once the platform shows the record whole, the next change of the order settles it.
    play.marketplace.faults.clear()
    for tid in tids(play):
        play.marketplace.edit_memo(SHOP, tid, "touched")
    play.clock.advance(30)
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_an_order_whose_details_fail_keeps_what_the_list_said(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    play.marketplace.faults.switch_on(Fault(name="isp", method="taobao.trade.fullinfo.get"))
    tid = tids(play)[0]
    play.clock.advance(60)
    play.marketplace.touch(SHOP, tid, post_fee=700)
    play.clock.advance(5)
    with pytest.raises(TransientError):
        pass_over(engine, access)
    assert value(engine, f"SELECT source FROM core.orders WHERE order_id = '{tid}'") == "list"
    with transaction(engine) as connection:
        assert depth(connection, SHOP).later == 1


def test_an_order_that_the_platform_does_not_serve_is_asked_for_once(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    with transaction(engine) as connection:
        say_changed(connection, SHOP, "increments", [Said("1234567890123456789", NOON)])
    assert drain(access, engine).drained.unavailable == 1
    assert drain(access, engine).calls == 0
    with transaction(engine) as connection:
        assert depth(connection, SHOP).unavailable == 1


def test_an_expired_session_stops_its_shop_only_and_says_what_to_do(engine: Engine, play: Play) -> None:
    good, bad = play.access(), play.access(id="expired", session_key="6100wrong")
    with pytest.raises(ShopsFailedError) as caught:
        for_each_shop([bad, good], engine, lambda access: list_history(access, engine, TODAY, access.platform.now()))
    assert "1 of 2 shops failed: shop expired" in str(caught.value)
    assert "authorise" in str(caught.value)
    assert "6100wrong" not in str(caught.value)
    assert value(engine, "SELECT count(*) FROM core.orders WHERE shop_id = 'demo-shop'") != 0


def test_shops_that_are_worked_on_together_do_not_wait_for_each_other(engine: Engine, play: Play) -> None:
    accesses = [play.access(id=f"shop-{number}") for number in range(4)]
    all_at_once = threading.Barrier(3, timeout=30)

    def work(access: ShopAccess) -> str:
        if access is accesses[3]:
            raise TransientError("a look", "no answer", remedy="wait")
        all_at_once.wait()
        return access.shop.id

    with pytest.raises(ShopsFailedError, match="1 of 4 shops failed: shop shop-3") as caught:
        for_each_shop(accesses, engine, work, at_once=4)
    assert caught.value.reports == ["shop-0", "shop-1", "shop-2"]


@pytest.mark.parametrize("play", [{"orders": 3000}], indirect=True)
def test_a_session_that_expires_midway_leaves_the_work_on_the_list(engine: Engine, play: Play) -> None:
    access = play.access()
    list_history(access, engine, TODAY, access.platform.now())
    waiting = value(engine, "SELECT count(*) FROM sync.pending_order")
    assert isinstance(waiting, int)
    play.marketplace.expire_session(SHOP)
    with pytest.raises(AuthorizationError):
        drain(access, engine)
    # The platform was not asked for each of them, and none of them is forgotten.
    assert access.calls.total_by_method["taobao.trade.fullinfo.get"] < waiting
    assert value(engine, "SELECT count(*) FROM sync.pending_order") == waiting
    play.marketplace.renew_session(SHOP)
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.pending_order SET due_at = now()"))
    drain(access, engine)
    assert value(engine, "SELECT count(*) FROM core.orders WHERE detail_modified_at IS NULL") == 0


def test_every_call_is_in_the_call_log(engine: Engine, play: Play) -> None:
    access = play.access()
    for_each_shop([access], engine, lambda access: pass_over(engine, access))
    answered = requests.get(f"{play.server.url}/sandbox/statistics", timeout=60).json()["calls"]
    with transaction(engine) as connection:
        rows = connection.execute(text("SELECT method, count(*) FROM sync.call GROUP BY 1"))
        logged = dict(rows.tuples().all())
    assert logged == answered


def test_raw_pages_hold_what_came_and_can_be_read_as_json(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    listed = value(
        engine,
        """
        SELECT count(DISTINCT trade->>'tid') FROM raw.page,
            jsonb_array_elements(body::jsonb->'trades_sold_get_response'->'trades'->'trade') AS trade
        WHERE channel = 'history'
        """,
    )
    assert listed == 300
    assert value(engine, "SELECT count(DISTINCT order_id) FROM raw.page WHERE channel = 'detail'") == 300


@pytest.mark.parametrize("play", [{"bounds": "inclusive"}, {"bounds": "exclusive"}], indirect=True)
def test_either_meaning_of_the_windows_ends_will_do(engine: Engine, play: Play) -> None:
    access = play.access(20)
    pass_over(engine, access)
    for _ in range(5):
        for tid in tids(play)[::7]:
            play.marketplace.edit_memo(SHOP, tid, "x")
        play.clock.advance(1)
    play.clock.advance(30)
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_three_hundred_changes_in_one_second_are_all_found(engine: Engine, play: Play) -> None:
    access = play.access(40)
    pass_over(engine, access)
    play.clock.advance(60)
    for tid in tids(play):
        play.marketplace.edit_memo(SHOP, tid, "all at once")
    play.clock.advance(60)
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


@pytest.mark.parametrize(
    "lagging",
    [
        "status = 'TRADE_NO_CREATE_PAY'",
        "payment = payment + 1",
        "received_payment = received_payment + 1",
        "seller_flag = seller_flag + 1",
        "step_status = 'FRONT_PAID_FINAL_NOPAID'",
    ],
)
def test_what_changed_twice_in_one_second_is_told_by_the_list(engine: Engine, play: Play, lagging: str) -> None:
    """Details that lagged behind show the first of the two changes, with the second that the list shows, too."""
    access = play.access()
    pass_over(engine, access)
    new = str(play.marketplace.place_order("demo-shop", order_type="step" if "step" in lagging else "fixed"))
    play.clock.advance(30)
    pass_over(engine, access)
    assert not due_work(access, engine).changed_days
    with transaction(engine) as connection:
        connection.execute(text(f"UPDATE core.orders SET {lagging} WHERE order_id = :new"), {"new": new})
    play.clock.advance(15)
    assert "1 changes since" in due_work(access, engine).explanation
    details = access.calls.total_by_method["taobao.trade.fullinfo.get"]
    pass_over(engine, access)
    assert access.calls.total_by_method["taobao.trade.fullinfo.get"] == details + 1
    assert proof(engine, access, play.server.url).equal
    assert not due_work(access, engine).changed_days
