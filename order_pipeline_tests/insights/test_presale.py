"""Holds of pre-sales: every transition, and any order and number of deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_pipeline.insights.presale import (
    DEPOSIT_PAID,
    FINAL_PAID,
    FORFEITED,
    NOTHING_PAID,
    Entry,
    Hold,
    Kind,
    PresaleLine,
    Sku,
    Stage,
    Transition,
    Version,
    advance,
    breaches,
    held_pieces,
    kind_of,
    pieces_of_open_deposits,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
RED, BLUE = Sku("1", "11", "P-red"), Sku("1", "12", "P-blue")


def version(second: int, asked: int = 0, refunded: int | None = None) -> Version:
    modified = START + timedelta(seconds=second)
    at = START + timedelta(seconds=refunded) if refunded is not None else None
    return Version(modified, modified + timedelta(seconds=1 + asked), at)


def line(second: int = 0, /, **changes: Any) -> PresaleLine:
    values: dict[str, Any] = {
        "item_id": "7",
        "version": version(second),
        "sku": RED,
        "quantity": 3,
        "order_type": "step",
        "order_status": "WAIT_BUYER_PAY",
        "status": "WAIT_BUYER_PAY",
        "step_status": NOTHING_PAID,
    }
    return PresaleLine(**(values | changes))


DEPOSIT: dict[str, Any] = {"step_status": DEPOSIT_PAID}
PAID: dict[str, Any] = {
    "step_status": FINAL_PAID,
    "order_status": "WAIT_SELLER_SEND_GOODS",
    "status": "WAIT_SELLER_SEND_GOODS",
}
SENT: dict[str, Any] = PAID | {"status": "WAIT_BUYER_CONFIRM_GOODS", "is_sent": True}


def deliver(lines: Sequence[PresaleLine]) -> tuple[Hold | None, list[Entry]]:
    hold: Hold | None = None
    ledger: list[Entry] = []
    for each in lines:
        moved = advance(hold, each)
        if moved:
            hold = moved.hold
            ledger += moved.entries
    return hold, ledger


def moved(hold: Hold | None, seen: PresaleLine) -> Transition:
    transition = advance(hold, seen)
    assert transition
    return transition


def held(seen: PresaleLine) -> Hold:
    return moved(None, seen).hold


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, Kind.STEP),
        ({"order_type": "fixed"}, Kind.STEP),
        ({"order_type": "fixed", "step_status": None}, None),
        ({"order_type": "fixed", "step_status": None, "new_presell": True}, Kind.FULL_PAYMENT),
        ({"order_type": "fixed", "step_status": None, "promised_ship_at": START}, Kind.FULL_PAYMENT),
        ({"order_type": "fixed", "step_status": None, "promised_ship_at": START, "new_presell": False}, None),
    ],
)
def test_both_ways_of_selling_ahead_are_recognised(changes: dict[str, Any], kind: Kind | None) -> None:
    assert kind_of(line(**changes)) is kind
    assert (advance(None, line(**changes)) is None) == (kind is None)


@pytest.mark.parametrize(
    ("changes", "stage", "pieces"),
    [
        ({}, Stage.WAITING, (0, 0)),
        (DEPOSIT, Stage.HELD, (3, 0)),
        (DEPOSIT | {"order_status": "TRADE_NO_CREATE_PAY", "status": "TRADE_NO_CREATE_PAY"}, Stage.HELD, (3, 0)),
        (PAID, Stage.RESERVED, (0, 3)),
        (PAID | {"status": "PAID_FORBID_CONSIGN"}, Stage.RESERVED, (0, 3)),
        (PAID | {"refunded_quantity": 1}, Stage.RESERVED, (0, 2)),
        (PAID | {"refunded_quantity": 3}, Stage.RELEASED, (0, 0)),
        # The rest is paid, but the line does not wait to be sent yet: nobody else counts it, so the hold does.
        ({"step_status": FINAL_PAID}, Stage.HELD, (3, 0)),
        ({"step_status": FORFEITED, "status": "TRADE_CLOSED_BY_TAOBAO"}, Stage.RELEASED, (0, 0)),
        ({"step_status": FORFEITED}, Stage.RELEASED, (0, 0)),
        (DEPOSIT | {"status": "TRADE_CLOSED"}, Stage.RELEASED, (0, 0)),
        (DEPOSIT | {"order_status": "TRADE_CLOSED"}, Stage.RELEASED, (0, 0)),
        ({"status": "TRADE_CLOSED_BY_TAOBAO"}, Stage.RELEASED, (0, 0)),
        (DEPOSIT | {"is_gone": True}, Stage.RELEASED, (0, 0)),
        (SENT, Stage.SENT, (0, 0)),
        # Refunded after it was sent: what came back is the warehouse's to count, not ours.
        (SENT | {"status": "TRADE_CLOSED"}, Stage.SENT, (0, 0)),
        ({"step_status": "FRONT_SOMETHING_NEW"}, Stage.WAITING, (0, 0)),
    ],
)
def test_a_line_stands_where_its_words_say(changes: dict[str, Any], stage: Stage, pieces: tuple[int, int]) -> None:
    hold = held(line(**changes))
    assert (hold.stage, (hold.held, hold.reserved)) == (stage, pieces)


def test_the_final_payment_turns_the_hold_into_a_reservation_and_keeps_the_total() -> None:
    before = held(line(**DEPOSIT))
    after = moved(before, line(60, **PAID))
    (entry,) = after.entries
    assert (entry.held_change, entry.reserved_change) == (-3, 3)
    assert (entry.stage_before, entry.stage, entry.reason) == (Stage.HELD, Stage.RESERVED, "paid in full")


def test_a_trade_first_seen_paid_leaves_no_hold() -> None:
    hold, ledger = deliver([line(60, **PAID), line(0, **DEPOSIT), line(-5)])
    assert hold
    assert (hold.held, hold.reserved) == (0, 3)
    assert [entry.held_change for entry in ledger] == [0]


def test_a_changed_quantity_moves_the_difference_and_keeps_since() -> None:
    before = held(line(**DEPOSIT))
    after = moved(before, line(60, quantity=5, **DEPOSIT))
    assert [(entry.held_change, entry.reason) for entry in after.entries] == [(2, "quantity changed")]
    assert after.hold.since == START
    less = moved(after.hold, line(61, quantity=1, **DEPOSIT))
    assert [entry.held_change for entry in less.entries] == [-4]


def test_another_sku_is_held_instead_of_the_first() -> None:
    before = held(line(**DEPOSIT))
    after = moved(before, line(60, sku=BLUE, quantity=2, **DEPOSIT))
    assert [(entry.sku, entry.held_change) for entry in after.entries] == [(RED, -3), (BLUE, 2)]
    paid = moved(before, line(60, sku=BLUE, **PAID))
    assert [(entry.sku, entry.held_change, entry.reserved_change) for entry in paid.entries] == [
        (RED, -3, 0),
        (BLUE, 0, 3),
    ]


def test_within_one_second_the_later_asked_counts_and_then_the_higher_stage() -> None:
    deposit = line(**DEPOSIT)
    paid = line(**PAID)
    assert advance(held(paid), deposit) is None
    assert moved(held(deposit), paid).hold.stage is Stage.RESERVED
    asked_later = deposit._replace(version=version(0, asked=5), quantity=9)
    assert moved(held(deposit), asked_later).hold.held == 9
    assert advance(held(asked_later), paid) is None


def test_a_refund_that_is_newer_than_its_order_counts() -> None:
    before = held(line(**PAID))
    freed = line(refunded_quantity=2, **PAID)._replace(version=version(0, refunded=90))
    after = moved(before, freed)
    assert [entry.reserved_change for entry in after.entries] == [-2]
    assert advance(after.hold, freed) is None


def test_an_invariant_that_is_broken_is_found() -> None:
    hold, ledger = deliver([line(**DEPOSIT), line(9, **PAID)])
    assert hold
    assert breaches([hold], ledger) == []
    assert {each.rule for each in breaches([hold], ledger[1:])} == {"never negative", "the ledger adds up"}
    assert {each.rule for each in breaches([hold], [*ledger, ledger[0]])} == {"the ledger adds up"}
    assert {each.rule for each in breaches([], ledger)} == {"the ledger adds up"}
    assert {each.rule for each in breaches([hold._replace(held=3)], ledger)} == {"never twice", "the ledger adds up"}


# A life of a line: what happens between two versions of it.
_STEPS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [DEPOSIT, PAID, SENT, {"step_status": FORFEITED}, DEPOSIT | {"status": "TRADE_CLOSED"}, PAID | {"quantity": 1},
     DEPOSIT | {"quantity": 7}, DEPOSIT | {"sku": BLUE}, PAID | {"sku": BLUE, "quantity": 2}, {},
     PAID | {"refunded_quantity": 1}, PAID | {"refunded_quantity": 3}, PAID | {"status": "TRADE_CLOSED"}]
)  # fmt: skip


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[PresaleLine], list[PresaleLine]]:
    """Return the versions of some lines, the newest of each last, and the same in disorder with repetitions."""
    newest, told = [], []
    for number in range(draw(st.integers(1, 3))):
        steps = draw(st.lists(_STEPS, min_size=1, max_size=6))
        gaps = draw(st.lists(st.integers(0, 2), min_size=len(steps), max_size=len(steps)))
        second = 0
        for asked, (step, gap) in enumerate(zip(steps, gaps, strict=True)):
            second += gap
            # Nobody asks twice at the very same moment.
            seen = line(**step)._replace(item_id=str(number), version=version(second, asked=asked * 3))
            told.append(seen)
        newest.append(told[-1])
    disorder = draw(st.permutations(told + draw(st.lists(st.sampled_from(told), max_size=6))))
    return newest, disorder


@settings(max_examples=150)
@given(deliveries())
def test_any_order_and_number_of_deliveries_ends_in_the_same_holds(
    told: tuple[list[PresaleLine], list[PresaleLine]],
) -> None:
    newest, disorder = told
    holds: dict[str, Hold] = {}
    ledger: list[Entry] = []
    for seen in disorder:
        transition = advance(holds.get(seen.item_id), seen)
        if transition:
            holds[seen.item_id] = transition.hold
            ledger += transition.entries
        assert breaches(list(holds.values()), ledger) == []
    for seen in newest:
        expected = held(seen)
        assert holds[seen.item_id]._replace(since=expected.since) == expected
    assert held_pieces(holds.values()) == pieces_of_open_deposits(newest)
