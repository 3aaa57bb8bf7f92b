"""The way of a refund, against the sandbox over HTTP and a real Postgres, on a driven clock."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine, text

from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.due import due_refunds
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.polling import poll_refunds
from order_pipeline.sync.provable import PROVABLE_REFUNDS
from order_pipeline.sync.reconciliation import Reconciliation, reconcile_day
from order_pipeline.sync.refund_listing import days_at_once, list_refunds
from order_pipeline.sync.replay import Result, replay
from order_pipeline.sync.streams import REFUND_STREAM
from order_pipeline.sync.windows import HISTORY_DAYS, SETTLE_LAG, day_of, day_window, days_between
from order_pipeline.traffic.errors import CallError, TransientError
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.quarantine import open_records
from order_pipeline.warehouse.subjects import REFUNDS
from order_pipeline.warehouse.watermarks import REFUND_CHANGES, read_watermark
from order_pipeline.warehouse.worklist import Said, depth, say_changed
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import (
    begin_refunds_lately,
    hear,
    now_due,
    pass_over,
    pass_over_refunds,
    refund_proof,
)

SHOP = "demo-shop"
TODAY = day_of(NOON)
YESTERDAY = TODAY - timedelta(days=1)
LIST = "taobao.refunds.receive.get"
DETAIL = "taobao.refund.get"


def value(engine: Engine, query: str, **values: object) -> object:
    with transaction(engine) as connection:
        return connection.execute(text(query), values).scalar()


def paid_tids(play: Play) -> list[int]:
    with play.marketplace.looking():
        return [
            trade.tid
            for trade, _ in play.marketplace.ledger(SHOP).versions()
            if trade.status == "WAIT_SELLER_SEND_GOODS"
        ]


def equal(engine: Engine, play: Play) -> bool:
    found = refund_proof(engine, play.access(), play.server.url)
    assert found.equal, found.examples
    return found.equal and found.refunds > 0


@pytest.mark.parametrize("play", [{"orders": 600, "days": 5}], indirect=True)
def test_refunds_are_loaded_followed_and_kept_equal_while_they_change(engine: Engine, play: Play) -> None:
    access = play.access(20)
    begin_refunds_lately(engine, access)
    assert len(pass_over_refunds(engine, access)) == 7
    assert equal(engine, play)
    chance = random.Random(3)
    for number in range(6):
        for tid in chance.sample(paid_tids(play), 10):
            play.marketplace.move_refund(SHOP, tid, "WAIT_SELLER_AGREE")
            if number % 2:
                play.marketplace.move_refund(SHOP, tid, chance.choice(["SUCCESS", "CLOSED"]))
        play.clock.advance(chance.choice([1, 40, 300]))
        pass_over_refunds(engine, access)
        now_due(engine)
    play.clock.advance(60)
    pass_over_refunds(engine, access)
    assert equal(engine, play)
    # Nothing new costs the time and one page, and the watermark moves.
    play.clock.advance(600)
    pass_over_refunds(engine, access)
    play.clock.advance(600)
    before = access.calls.total
    assert due_refunds(access, engine).changed_days == ()
    assert access.calls.total - before == 2
    with transaction(engine) as connection:
        assert read_watermark(connection, SHOP, REFUND_CHANGES) == play.now - SETTLE_LAG
    # What came raw can be read again without a call.
    whole = value(engine, "SELECT count(*) FROM core.refunds WHERE source = 'detail'")
    assert value(engine, "SELECT count(DISTINCT refund_id) FROM raw.page WHERE refund_id IS NOT NULL") == whole


def test_a_new_shop_is_loaded_three_months_back(engine: Engine, play: Play) -> None:
    access = play.access()
    work = due_refunds(access, engine)
    assert len(work.changed_days) == HISTORY_DAYS + 1
    assert "never loaded" in work.explanation
    # Today alone brings today and leaves the rest due.
    list_refunds(access, engine, TODAY, access.platform.now())
    drain(access, engine, stream=REFUND_STREAM)
    assert len(due_refunds(access, engine).changed_days) == HISTORY_DAYS + 1


def test_a_refund_reaches_the_tables_by_its_message_alone(engine: Engine, play: Play) -> None:
    access = play.access()
    begin_refunds_lately(engine, access)
    pass_over(engine, access)
    pass_over_refunds(engine, access)
    # The first reading permits the messages.
    hear(engine, access)
    tid = paid_tids(play)[0]
    play.clock.advance(60)
    play.marketplace.move_refund(SHOP, tid, "WAIT_SELLER_AGREE")
    play.clock.advance(10)
    reading = hear(engine, access)
    assert reading.refunds_announced == 1
    assert access.calls.total_by_method[DETAIL] > 0
    assert value(engine, "SELECT status FROM core.refunds WHERE order_id = :tid", tid=str(tid)) == "WAIT_SELLER_AGREE"
    # The order follows the same message, so both agree.
    assert (
        value(engine, "SELECT refund_status FROM core.order_items WHERE order_id = :tid AND refund_id IS NOT NULL",
              tid=str(tid))
        == "WAIT_SELLER_AGREE"
    )  # fmt: skip
    with transaction(engine) as connection:
        assert depth(connection, SHOP, subject=REFUNDS).due == 0


def test_refunds_come_before_their_orders_and_are_joined_later(engine: Engine, play: Play) -> None:
    access = play.access()
    begin_refunds_lately(engine, access)
    pass_over_refunds(engine, access)
    refunds = value(engine, "SELECT count(*) FROM bi.refunds")
    assert isinstance(refunds, int)
    assert refunds > 10
    assert value(engine, "SELECT count(*) FROM bi.orders") == 0
    pass_over(engine, access)
    joined = "SELECT count(*) FROM bi.refunds r JOIN bi.order_items i USING (shop_id, order_id, item_id)"
    assert value(engine, joined) == refunds


@pytest.mark.parametrize(
    "fault",
    [
        Fault("http_error", rate=0.3, seed=1),
        Fault("truncated", rate=0.3, seed=4),
        Fault("wrong_total", rate=0.5, seed=15),
        Fault("has_next_forever", rate=0.3, seed=16),
        Fault("repeated_page", rate=0.3, seed=17),
        Fault("empty_page", rate=0.3, seed=18, kind="page"),
        Fault("stale_list", rate=0.5, seed=19, seconds=120),
        Fault("odd_record", rate=0.3, seed=23, kind="ids_as_text"),
        Fault("odd_record", rate=0.2, seed=24, kind="numbers_as_text"),
    ],
    ids=lambda fault: f"{fault.name}-{fault.kind}".rstrip("-"),
)
@pytest.mark.parametrize("play", [{"orders": 200, "days": 2}], indirect=True)
def test_after_a_fault_of_the_wire_the_refunds_equal_the_platforms(engine: Engine, play: Play, fault: Fault) -> None:
    access = play.access(5)
    begin_refunds_lately(engine, access, days=3)
    pass_over_refunds(engine, access)
    play.marketplace.faults.switch_on(fault)
    chance = random.Random(7)
    said = []
    for _ in range(3):
        for tid in chance.sample(paid_tids(play), 8):
            play.marketplace.move_refund(SHOP, tid, "WAIT_SELLER_AGREE")
        play.clock.advance(45)
        try:
            pass_over_refunds(engine, access)
        except CallError as error:
            said.append(str(error))
        now_due(engine)
    assert all("failed: " in sentence for sentence in said)
    assert play.marketplace.faults.struck[fault.name] > 0
    play.marketplace.faults.clear()
    for _ in range(3):
        play.clock.advance(100)
        now_due(engine)
        pass_over_refunds(engine, access)
    assert equal(engine, play)


def test_a_poisoned_refund_is_quarantined_and_loads_when_it_is_well(engine: Engine, play: Play) -> None:
    access = play.access()
    begin_refunds_lately(engine, access)
    play.marketplace.faults.switch_on(Fault("poison", rate=0.1, seed=11, kind="money_text"))
    pass_over_refunds(engine, access)
    play.marketplace.faults.clear()
    with transaction(engine) as connection:
        held = open_records(connection, None, subject=REFUNDS)
    assert held
    assert all(record["refund_id"] and record["order_id"] is None for record in held)
    red = reconcile(engine, play, YESTERDAY)
    # Read again by hand it is refused as before, and its refund is fetched by the next pass.
    outcomes = [replay(engine, record["quarantine_id"]) for record in held]
    assert {each.result for each in outcomes} <= {Result.WOKEN, Result.LOADED}
    play.clock.advance(30)
    drain(access, engine, stream=REFUND_STREAM)
    with transaction(engine) as connection:
        assert open_records(connection, None, subject=REFUNDS) == []
    assert equal(engine, play)
    assert red.row.equal or reconcile(engine, play, YESTERDAY).row.equal


def test_a_refund_that_the_platform_does_not_serve_is_asked_for_once(engine: Engine, play: Play) -> None:
    access = play.access()
    with transaction(engine) as connection:
        say_changed(connection, SHOP, REFUND_CHANGES, [Said("123", NOON)], subject=REFUNDS)
    assert drain(access, engine, stream=REFUND_STREAM).drained.unavailable == 1
    assert drain(access, engine, stream=REFUND_STREAM).calls == 0


def reconcile(engine: Engine, play: Play, day: object = YESTERDAY, *, listed: bool = False) -> Reconciliation:
    access = play.access()
    now = access.platform.now()
    found = reconcile_day(access, engine, day, now, listed=listed, provable=PROVABLE_REFUNDS)  # type: ignore[arg-type]
    assert found is not None
    return found


DELETE = "DELETE FROM core.refunds WHERE refund_id = ANY(:ids)"
SPOIL = [
    """
    UPDATE core.refunds SET modified_at = modified_at - interval '1 minute', status = 'CLOSED'
    WHERE refund_id = ANY(:ids)
    """,
    "UPDATE core.refunds SET refund_fee = refund_fee + 1 WHERE refund_id = ANY(:ids)",
    "UPDATE core.refunds SET quantity = quantity + 1 WHERE refund_id = ANY(:ids)",
    "UPDATE core.refunds SET return_company = 'elsewhere' WHERE refund_id = ANY(:ids)",
    "UPDATE core.refunds SET source = 'list', detail_modified_at = NULL WHERE refund_id = ANY(:ids)",
]


@pytest.mark.parametrize("play", [{"orders": 12_000, "days": 2}], indirect=True)
def test_sabotage_of_a_day_is_found_exactly_and_mended(engine: Engine, play: Play) -> None:
    access = play.access()
    now = access.platform.now()
    list_refunds(access, engine, YESTERDAY, now)
    drain(access, engine, stream=REFUND_STREAM)
    play.clock.advance(60)
    right = reconcile(engine, play)
    day = right.row.expected
    assert day > 300
    assert right.row.equal
    assert not right.row.listed
    assert right.row.calls <= 5

    with transaction(engine) as connection:
        # Not at the day's edges: aged by a minute they would be another day's.
        ids = list(
            connection.execute(text("SELECT refund_id FROM core.refunds ORDER BY modified_at")).scalars()
        )[20:-20]  # fmt: skip
        victims = random.Random(4).sample(ids, 4 + 2 * len(SPOIL))
        connection.execute(text(DELETE), {"ids": victims[:4]})
        for number, statement in enumerate(SPOIL):
            connection.execute(text(statement), {"ids": victims[4 + 2 * number : 6 + 2 * number]})
    found = reconcile(engine, play)
    assert (found.row.missing, found.row.stale, found.row.extra) == (4, 2 * len(SPOIL), 0)
    assert found.row.refilled == len(victims)
    assert found.row.equal
    assert {record_id for record_id, _ in found.sample} <= set(victims)
    again = reconcile(engine, play)
    assert again.row.equal
    assert again.row.calls <= 5
    with transaction(engine) as connection:
        connection.execute(text("SET LOCAL ROLE bi_reader"))
        (row,) = connection.execute(text("SELECT day, equal, missing FROM bi.refund_reconciliation")).all()
        assert connection.execute(text("SELECT count(*) FROM bi.reconciliation")).scalar() == 0
    assert tuple(row) == (YESTERDAY, True, 0)


def test_a_refund_that_changes_while_its_day_is_proven_is_no_difference(engine: Engine, play: Play) -> None:
    access = play.access()
    begin_refunds_lately(engine, access)
    pass_over_refunds(engine, access)
    tid = paid_tids(play)[0]
    play.marketplace.move_refund(SHOP, tid, "WAIT_SELLER_AGREE")
    play.clock.advance(60)
    pass_over_refunds(engine, access)
    # Both channels miss the next change, which takes the refund out of the day that it is held as of.
    play.clock.advance(86_400)
    play.marketplace.move_refund(SHOP, tid, "SUCCESS")
    play.clock.advance(60)
    found = reconcile(engine, play, TODAY)
    assert found.row.equal
    assert found.row.extra >= 1
    status = value(engine, "SELECT status FROM core.refunds WHERE order_id = :tid", tid=str(tid))
    assert status == "SUCCESS"


def test_a_platform_that_is_away_leaves_the_watermark_and_no_proof(engine: Engine, play: Play) -> None:
    access = play.access()
    begin_refunds_lately(engine, access)
    before = value(engine, "SELECT position FROM sync.watermark WHERE channel = 'refunds'")
    now = access.platform.now()
    play.marketplace.faults.switch_on(Fault("http_error", method=LIST))
    with pytest.raises(TransientError):
        list_refunds(access, engine, TODAY, now)
    with pytest.raises(TransientError):
        reconcile_day(access, engine, YESTERDAY, now, provable=PROVABLE_REFUNDS)
    assert value(engine, "SELECT position FROM sync.watermark WHERE channel = 'refunds'") == before
    assert value(engine, "SELECT count(*) FROM sync.reconciliation") == 0


def reserved(engine: Engine) -> dict[tuple[str, str], int]:
    """Return the reserved pieces by item and SKU, as BI reads them."""
    with transaction(engine) as connection:
        rows = connection.execute(
            text("SELECT num_iid, coalesce(sku_id, ''), reserved_quantity FROM bi.reserved_stock")
        )
        return {(num_iid, sku_id): int(quantity) for num_iid, sku_id, quantity in rows}


@pytest.mark.parametrize("orders_first", [True, False])
def test_a_refund_frees_exactly_its_pieces_once_whichever_table_hears_of_it_first(
    engine: Engine, play: Play, orders_first: bool
) -> None:
    access = play.access()
    begin_refunds_lately(engine, access)

    def hear_of_orders() -> None:
        now_due(engine)
        pass_over(engine, access)

    def hear_of_refunds() -> None:
        now_due(engine)
        pass_over_refunds(engine, access)

    ways = [hear_of_orders, hear_of_refunds] if orders_first else [hear_of_refunds, hear_of_orders]
    for way in ways:
        way()
    before = reserved(engine)
    tid = paid_tids(play)[3]
    with transaction(engine) as connection:
        num_iid, sku_id, quantity = connection.execute(
            text("SELECT num_iid, coalesce(sku_id, ''), quantity FROM core.order_items "
                 "WHERE order_id = :tid ORDER BY item_id LIMIT 1"),
            {"tid": str(tid)},
        ).one()  # fmt: skip
    # Asked for, refused, asked for again: nothing is free.
    for status in ("WAIT_SELLER_AGREE", "CLOSED", "WAIT_SELLER_AGREE"):
        play.clock.advance(30)
        play.marketplace.move_refund(SHOP, tid, status)
        play.clock.advance(5)
        for way in ways:
            way()
        assert reserved(engine) == before
    # Paid back: just its pieces are, as soon as one of the two tables knows, and the other frees them no second time.
    play.marketplace.move_refund(SHOP, tid, "SUCCESS")
    play.clock.advance(30)
    expected = {key: pieces - (quantity if key == (num_iid, sku_id) else 0) for key, pieces in before.items()}
    expected = {key: pieces for key, pieces in expected.items() if pieces}
    for way in [*ways, *ways]:
        way()
        play.clock.advance(30)
        assert reserved(engine) == expected
    off = value(
        engine,
        "SELECT sum(net_quantity) || ' ' || sum(net_payment) FROM bi.order_items WHERE order_id = :tid "
        "AND refund_status = 'SUCCESS'",
        tid=str(tid),
    )
    assert off == "0 0.00"


def test_several_partial_refunds_and_an_exchange_on_one_line_add_up_and_go_on(engine: Engine, play: Play) -> None:
    access = play.access()
    begin_refunds_lately(engine, access)
    pass_over(engine, access)
    pass_over_refunds(engine, access)
    with transaction(engine) as connection:
        tid, item_id, paid = connection.execute(
            text("SELECT order_id, item_id, net_payment FROM bi.order_items i WHERE order_id = ANY(:tids) "
                 "AND net_payment > 10 AND reserved_quantity > 0 AND refunded_quantity = 0 AND refunded_payment = 0 "
                 "AND (SELECT count(*) FROM bi.order_items o WHERE o.order_id = i.order_id) = 1 ORDER BY 1 LIMIT 1"),
            {"tids": [str(tid) for tid in paid_tids(play)]},
        ).one()  # fmt: skip

    def move(status: str, number: int, **step: Any) -> None:
        play.clock.advance(40)
        play.marketplace.move_refund(SHOP, int(tid), status, number=number, **step)

    def net() -> tuple[int, Decimal]:
        play.clock.advance(40)
        now_due(engine)
        pass_over_refunds(engine, access)
        pass_over(engine, access)
        with transaction(engine) as connection:
            row = connection.execute(
                text("SELECT reserved_quantity, net_payment FROM bi.order_items WHERE item_id = :id"), {"id": item_id}
            ).one()
        return int(row[0]), row[1]

    pieces, _ = net()
    # A lower price, twice, and other goods instead: everything is still to be sent.
    for number, fee in enumerate((100, 150)):
        move("WAIT_SELLER_AGREE", number, fee=fee)
        move("SUCCESS", number, fee=fee)
    move("WAIT_SELLER_AGREE", 2, kind="TAOBAO_EXCHANGE")
    move("SUCCESS", 2, kind="TAOBAO_EXCHANGE")
    assert net() == (pieces, paid - Decimal("2.50"))
    # The rest, given up and then opened again under its id.
    rest = int((paid - Decimal("2.50")) * 100)
    move("WAIT_SELLER_AGREE", 3, fee=rest)
    move("CLOSED", 3, fee=rest)
    assert net() == (pieces, paid - Decimal("2.50"))
    move("WAIT_SELLER_AGREE", 3, fee=rest)
    move("SUCCESS", 3, fee=rest)
    assert net() == (0, Decimal("0.00"))
    assert value(engine, "SELECT count(*) FROM bi.refunds WHERE item_id = :id", id=item_id) == 4
    assert equal(engine, play)


@pytest.mark.parametrize("play", [{"orders": 600, "days": 5}], indirect=True)
def test_quiet_months_are_asked_for_many_days_at_once(engine: Engine, play: Play) -> None:
    access = play.access()
    days = due_refunds(access, engine).changed_days
    listings = poll_refunds(access, engine, days)
    windows = [listing.window for listing in listings if listing.window]
    # Neighbours meet, from just before the watermark's beginning to now.
    assert all(before.end == after.start for before, after in pairwise(windows))
    assert day_of(windows[0].start) == days[0]
    assert windows[-1].end == play.now
    # Quiet until the last five days, which have a page or so each.
    assert len(windows) < 20
    drain(access, engine, stream=REFUND_STREAM)
    assert equal(engine, play)


def test_days_read_again_are_read_whole_though_the_watermark_lies_among_them(engine: Engine, play: Play) -> None:
    access = play.access()
    begin_refunds_lately(engine, access, days=2)
    now = access.platform.now()
    days = list(days_between(TODAY - timedelta(days=4), TODAY))
    listings = poll_refunds(access, engine, days)
    windows = [listing.window for listing in listings if listing.window]
    assert windows[0].start == day_window(days[0]).start
    assert all(before.end == after.start for before, after in pairwise(windows))
    assert windows[-1].end == now


@pytest.mark.parametrize(
    ("days", "listed", "at_once"),
    [(1, 0, 4), (4, 3, 15), (15, 0, 15), (15, 60, 15), (15, 100, 9), (2, 900, 1)],
)
def test_as_many_days_are_asked_for_as_should_fit_a_page(days: int, listed: int, at_once: int) -> None:
    assert days_at_once(days, listed) == at_once
