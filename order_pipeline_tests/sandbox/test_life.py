from __future__ import annotations

from collections import Counter
from statistics import median, quantiles

import pytest

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.demand import synthetic
from order_pipeline.sandbox.life import plan_life
from order_pipeline.sandbox.trade import Trade, apply, open_trade
from order_pipeline_tests.sandbox.conftest import NOW

ORDERS = 12_000
BASKETS = synthetic(5, epoch=NOW, orders=ORDERS).baskets


@pytest.fixture(scope="module")
def lived() -> list[Trade]:
    trades = []
    for ordinal, basket in enumerate(BASKETS):
        placement, events = plan_life(5, ordinal, basket)
        trade = open_trade(placement)
        for event in events:
            apply(trade, event)
        trades.append(trade)
    return trades


def test_the_same_seed_gives_the_same_life_and_another_seed_another() -> None:
    lives = [[plan_life(seed, ordinal, basket) for ordinal, basket in enumerate(BASKETS[:200])] for seed in (1, 1, 2)]
    assert lives[0] == lives[1] != lives[2]


def test_events_come_in_time_order_and_the_first_is_the_creation() -> None:
    for ordinal, basket in enumerate(BASKETS[:2000]):
        placement, events = plan_life(5, ordinal, basket)
        moments = [event.at_ms for event in events]
        assert moments == sorted(moments)
        assert (events[0].kind, events[0].at_ms) == (t.CREATED, placement.created_ms)


def test_a_faster_life_is_the_same_life_with_shorter_waits() -> None:
    slow = plan_life(5, 1, BASKETS[1])[1]
    fast = plan_life(5, 1, BASKETS[1], speed=1000)[1]
    assert [event.kind for event in slow] == [event.kind for event in fast]
    assert (slow[-1].at_ms - slow[0].at_ms) / 1000 == pytest.approx(fast[-1].at_ms - fast[0].at_ms, abs=1)


def test_ids_have_19_digits_and_are_unique(lived: list[Trade]) -> None:
    identifiers = [trade.tid for trade in lived] + [
        line.oid for trade in lived if len(trade.lines) > 1 for line in trade.lines
    ]
    assert len(set(identifiers)) == len(identifiers)
    assert {len(str(identifier)) for identifier in identifiers} == {19}
    refunds = [line.refund_id for trade in lived for line in trade.lines if line.refund_id]
    assert len(set(refunds)) == len(refunds)


def test_the_shop_looks_like_the_one_its_rates_were_taken_from(lived: list[Trade]) -> None:
    ordinary = [trade for trade in lived if trade.type == "fixed"]
    paid = [trade for trade in ordinary if trade.paid_at]
    assert 1 - len(paid) / len(ordinary) == pytest.approx(0.14, abs=0.015)
    refunded = [trade for trade in paid if any(line.refund_id for line in trade.lines)]
    assert len(refunded) / len(paid) == pytest.approx(0.234, abs=0.02)
    waits = [trade.paid_at - trade.created for trade in paid]
    assert median(waits) == pytest.approx(8, abs=2)
    assert quantiles(waits, n=20)[-1] == pytest.approx(191, rel=0.25)
    assert max(waits) <= 24 * 3600
    assert sum(trade.parcels > 1 for trade in lived) / len(lived) == pytest.approx(0.0125, abs=0.006)


def test_every_life_ends(lived: list[Trade]) -> None:
    assert {trade.status for trade in lived} == t.ENDED
    assert all(line.status in t.ENDED for trade in lived for line in trade.lines)
    assert all(trade.ended_at and trade.modified >= trade.ended_at for trade in lived)


def test_a_deposit_leaves_the_trade_waiting_for_payment() -> None:
    seen: Counter[str] = Counter()
    for ordinal, basket in enumerate(BASKETS[:3000]):
        placement, events = plan_life(5, ordinal, basket, order_type="step")
        trade = open_trade(placement)
        for event in events:
            apply(trade, event)
            assert trade.step_status is not None
            seen[trade.step_status] += 1
            if trade.step_status == "FRONT_PAID_FINAL_NOPAID":
                # Cancelled deposits close the trade as any refund of everything does.
                assert trade.status in (t.WAIT_BUYER_PAY, t.TRADE_NO_CREATE_PAY, t.TRADE_CLOSED)
            elif trade.step_status == "FRONT_PAID_FRONT_FORFEITED":
                assert trade.status == t.TRADE_CLOSED_BY_TAOBAO
            elif trade.step_status == "FRONT_PAID_FINAL_PAID":
                assert trade.paid_at > 0
    assert len(seen) == 4


def test_a_refund_of_every_line_closes_the_trade_and_of_one_line_only_that(lived: list[Trade]) -> None:
    partly = 0
    for trade in lived:
        closed = [line for line in trade.lines if line.status == t.TRADE_CLOSED]
        assert (trade.status == t.TRADE_CLOSED) == (len(closed) == len(trade.lines))
        assert all(line.refund_status == t.REFUND_SUCCESS for line in closed)
        partly += 0 < len(closed) < len(trade.lines)
    assert partly > 50


def test_parcels_of_one_trade_have_their_own_numbers(lived: list[Trade]) -> None:
    split = [trade for trade in lived if trade.parcels > 1]
    assert split
    for trade in split:
        assert len({line.invoice_no for line in trade.lines if line.invoice_no}) <= trade.parcels
    statuses: Counter[str] = Counter()
    for trade in split:
        for version in range(1, trade.version):
            statuses[trade.at_version(version).status] += 1
    assert statuses[t.SELLER_CONSIGNED_PART] >= len(split) // 2


def test_an_earlier_version_can_be_rebuilt(lived: list[Trade]) -> None:
    for trade in lived[:200]:
        rebuilt = open_trade(trade.placement)
        for version, event in enumerate(trade.applied, start=1):
            apply(rebuilt, event)
            assert trade.at_version(version) == rebuilt
