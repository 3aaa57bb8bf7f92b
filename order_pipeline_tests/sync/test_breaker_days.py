"""A storm of errors on a driven clock: the breaker opens, the pipeline degrades, recovers, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest
from sqlalchemy import Engine, text

from order_pipeline.commands.outcome import leftovers
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import due_refunds, due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.polling import poll
from order_pipeline.sync.streams import REFUND_STREAM
from order_pipeline.traffic.breaker import Breaker
from order_pipeline.traffic.errors import CallError, TransientError
from order_pipeline.traffic.gate import Gate, shared_gate
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.worklist import Said, say_anyway
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.proving import begin_refunds_lately, pass_over, pass_over_refunds, proof, refund_proof

SISTERS = tuple(
    msgspec.structs.replace(DEMO_SHOP, id=f"sister-{number}", session_key=f"6100sandbox{number}", user_id=number)
    for number in (1, 2)
)


def gated(play: Play, engine: Engine) -> ShopAccess:
    gate = Gate(breaker=Breaker(engine, play.shop().app_key, clock=lambda: play.now))
    return play.access(100, timedelta(0), gate)


def minute(play: Play, engine: Engine, access: ShopAccess, number: int) -> None:
    """What the sensor and the runs do in a minute: look every 15 s, work where there is work."""
    tid = play.marketplace.place_order("demo-shop", lives=True)
    for quarter in range(4):
        if quarter == 1:
            play.marketplace.edit_memo("demo-shop", tid, f"minute {number}")
        play.clock.advance(15)
        try:
            work = due_work(access, engine)
            if work.changed_days:
                poll(access, engine, work.changed_days)
                drain(access, engine)
        except CallError:
            continue


def now_due(engine: Engine) -> None:
    """Let what waits for its next try be due: the worklist's own waits are by the database's clock."""
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.pending_order SET due_at = now() WHERE due_at < 'infinity'"))


def test_a_storm_opens_the_breaker_and_after_it_the_tables_equal_the_platform(engine: Engine, play: Play) -> None:
    access = gated(play, engine)
    breaker = access.gate.breaker
    assert breaker is not None
    pass_over(engine, access)
    for number in range(3):
        minute(play, engine, access, number)
    assert not breaker.is_open()
    play.marketplace.faults.switch_on(Fault(name="http_error", rate=0.5, seed=4))
    for number in range(5):
        minute(play, engine, access, number)
    assert breaker.is_open()
    play.marketplace.faults.switch_on(Fault(name="http_error", rate=1.0))
    calls = access.calls.total
    for number in range(10):
        minute(play, engine, access, number)
    assert breaker.is_open()
    # One probe in 30 s and its retries at most, not the four polls a minute with five attempts each.
    assert access.calls.total - calls <= 10 * 2 * 3
    play.marketplace.faults.clear()
    for number in range(5):
        minute(play, engine, access, number)
        now_due(engine)
    assert not breaker.is_open()
    assert [change.state for change in breaker.changes()] == ["closed", "open"]
    assert not any("breaker" in left for left in leftovers(engine, [access], play.now))
    play.clock.advance(30)
    pass_over(engine, access)
    now_due(engine)
    drain(access, engine)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_while_the_breaker_is_open_one_full_pull_an_hour_keeps_the_tables_right(engine: Engine, play: Play) -> None:
    access = gated(play, engine)
    breaker = access.gate.breaker
    assert breaker is not None
    pass_over(engine, access)
    # Only the increment list is broken: polls fail, the pull by day of creation and details work.
    play.marketplace.faults.switch_on(Fault(name="http_error", method="taobao.trades.sold.increment.get"))
    for number in range(10):
        minute(play, engine, access, number)
    assert breaker.is_open()
    pulls = []
    for number in range(130):
        before = access.calls.total_by_method["taobao.trades.sold.get"]
        minute(play, engine, access, number)
        now_due(engine)
        if access.calls.total_by_method["taobao.trades.sold.get"] > before:
            pulls.append(number)
    assert 2 <= len(pulls) <= 3
    assert all(later - earlier >= 59 for earlier, later in pairwise(pulls))
    with transaction(engine) as connection:
        orders = connection.execute(text("SELECT count(*) FROM core.orders")).scalar()
    # All but what arrived after the last pull.
    assert isinstance(orders, int)
    assert orders >= 300 + 10 + pulls[-1]
    play.marketplace.faults.clear()
    for number in range(5):
        minute(play, engine, access, number)
        now_due(engine)
    assert not breaker.is_open()
    play.clock.advance(30)
    pass_over(engine, access)
    now_due(engine)
    drain(access, engine)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


@pytest.mark.parametrize("play", [{"orders": 30, "days": 3, "shops": (DEMO_SHOP, *SISTERS)}], indirect=True)
def test_each_of_three_shops_on_one_app_key_is_pulled_once_an_hour(engine: Engine, play: Play) -> None:
    first = gated(play, engine)
    sisters = [play.access(100, timedelta(0), first.gate, id=s.id, session_key=s.session_key) for s in SISTERS]
    accesses = [first, *sisters]
    breaker = first.gate.breaker
    assert breaker is not None
    for access in accesses:
        begin_refunds_lately(engine, access, days=1)
        pass_over(engine, access)
    play.marketplace.faults.switch_on(Fault(name="http_error", method="taobao.trades.sold.increment.get"))
    for number in range(10):
        minute(play, engine, first, number)
    assert breaker.is_open()
    for _ in range(2):
        play.clock.advance(3600)
        placed = {access.shop.id: str(play.marketplace.place_order(access.shop.id)) for access in accesses}
        play.clock.advance(30)
        pulls: Counter[str] = Counter()
        # Whoever asks, and however often: each shop's pull is made once.
        for access in [*accesses, *accesses]:
            before = access.calls.total_by_method["taobao.trades.sold.get"]
            with suppress(TransientError):
                # The probe, which is due now and then, meets the broken list.
                work = due_work(access, engine)
                poll(access, engine, work.changed_days)
            pulls[access.shop.id] += access.calls.total_by_method["taobao.trades.sold.get"] > before
        assert pulls == dict.fromkeys(placed, 1)
        with transaction(engine) as connection:
            found = connection.execute(text("SELECT shop_id, order_id FROM core.orders")).tuples().all()
        assert set(placed.items()) <= set(found)
    assert breaker.is_open()


@pytest.mark.parametrize("play", [{"orders": 200, "days": 5}], indirect=True)
def test_the_full_pull_takes_the_refunds_along(engine: Engine, play: Play) -> None:
    access = gated(play, engine)
    breaker = access.gate.breaker
    assert breaker is not None
    begin_refunds_lately(engine, access)
    pass_over(engine, access)
    pass_over_refunds(engine, access)
    play.marketplace.faults.switch_on(Fault(name="http_error", rate=1.0))
    for number in range(6):
        minute(play, engine, access, number)
    assert breaker.is_open()
    # sync ends with exit code 1 then, whatever its runs say.
    (left,) = leftovers(engine, [access], play.now)
    assert "changes of orders and refunds are not followed while the breaker is open, since 2026-03-15" in left
    with play.marketplace.looking():
        paid = [
            trade.tid
            for trade, _ in play.marketplace.ledger("demo-shop").versions()
            if trade.status == "WAIT_SELLER_SEND_GOODS"
        ]
    for tid in paid[:5]:
        play.marketplace.move_refund("demo-shop", tid, "WAIT_SELLER_AGREE")
    # The hour of the next pull comes in the middle of the outage of the list of changes only.
    play.marketplace.faults.clear()
    play.marketplace.faults.switch_on(Fault(name="http_error", method="taobao.trades.sold.increment.get"))
    play.clock.advance(3600)
    assert not refund_proof(engine, access, play.server.url).equal
    with pytest.raises(TransientError):
        # The probe, which was due, too.
        due_work(access, engine)
    poll(access, engine, due_work(access, engine).changed_days)
    now_due(engine)
    drain(access, engine, stream=REFUND_STREAM)
    assert breaker.is_open()
    found = refund_proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_a_shop_that_always_has_details_to_fetch_closes_its_breaker_too(engine: Engine, play: Play) -> None:
    """A look that finds work without asking for a list has to try the list all the same, or no probe ever ends."""
    access = gated(play, engine)
    breaker = access.gate.breaker
    assert breaker is not None
    pass_over(engine, access)
    play.marketplace.faults.switch_on(Fault(name="http_error", rate=1.0))
    for number in range(8):
        minute(play, engine, access, number)
    assert breaker.is_open()
    play.marketplace.faults.clear()
    for _ in range(4 * 4):
        with transaction(engine) as connection:
            known = connection.execute(text("SELECT order_id, modified_at FROM core.orders LIMIT 3")).all()
            say_anyway(connection, access.shop.id, "messages", [Said(*row) for row in known])
        play.clock.advance(15)
        work = due_work(access, engine)
        poll(access, engine, work.changed_days)
        drain(access, engine)
    assert not breaker.is_open()
    play.clock.advance(30)
    pass_over(engine, access)
    now_due(engine)
    drain(access, engine)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


@pytest.mark.parametrize("play", [{"orders": 20, "days": 2}], indirect=True)
def test_a_long_ban_leaves_no_work_and_is_said_to_leave_something_undone(engine: Engine, play: Play) -> None:
    access = play.access(100, timedelta(0), shared_gate(engine, play.shop().app_key, 600))
    assert access.gate.budget is not None
    access.gate.budget.ban(36_000)
    with transaction(engine) as connection:
        say_anyway(connection, access.shop.id, "messages", [Said("4711", play.now)])
    # Also with details that wait, and however often anybody looks: the platform is not asked.
    for _ in range(20):
        work = due_work(access, engine)
        assert (work.history_days, work.changed_days) == ((), ())
        assert due_refunds(access, engine).changed_days == ()
        play.clock.advance(15)
    assert access.calls.total == 0
    assert play.marketplace.statistics()["calls"] == {}
    (left, *_) = leftovers(engine, [access], play.now)
    assert "shop demo-shop: the platform is not asked before 20" in left
