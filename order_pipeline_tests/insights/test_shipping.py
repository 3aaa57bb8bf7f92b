"""Which paid lines may leave: never more than there is, each once, those first that must leave first."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_pipeline.insights.shipping import HOLDS, Line, Listed, picks, plan, stop_reason

MORNING = datetime(2026, 3, 15, 1, tzinfo=UTC)


def line(
    order: str, number: int = 1, sku: str | None = "tea", quantity: int = 1, hour: int = 0, **more: object
) -> Line:
    parts = ((sku, quantity),) if sku else ()
    values = {
        "order_id": order, "item_id": f"{order}-{number}", "sku": sku, "parts": parts, "quantity": quantity,
        "status": "WAIT_SELLER_SEND_GOODS", "order_status": "WAIT_SELLER_SEND_GOODS",
        "paid_at": MORNING + timedelta(hours=hour),
    }  # fmt: skip
    return Line(**(values | more))  # type: ignore[arg-type]


drawn_lines = st.lists(
    st.builds(
        lambda order, number, sku, quantity, hour, promise, is_held, refund: line(
            f"o{order}",
            number,
            sku,
            quantity,
            hour,
            promised_at=None if promise is None else MORNING + timedelta(days=promise),
            # What holds an order holds all its lines.
            holds=("top_hold",) if is_held and order == 0 else (),
            has_open_refund=refund,
        ),
        st.integers(0, 6),
        st.integers(1, 9),
        st.sampled_from(["tea", "cup", "pot"]),
        st.integers(1, 4),
        st.integers(0, 5),
        st.none() | st.integers(0, 9),
        st.booleans(),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=25,
    unique_by=lambda each: each.key,
)
drawn_stock = st.dictionaries(st.sampled_from(["tea", "cup", "pot"]), st.none() | st.integers(0, 15))


def taken(lines: tuple[Line, ...]) -> Counter[str]:
    return Counter(dict.fromkeys(("tea", "cup", "pot"), 0)) + Counter(
        sku for each in lines for sku, pieces in each.parts for _ in range(pieces)
    )


@settings(max_examples=150)
@given(drawn_lines, drawn_stock, st.randoms(use_true_random=False))
def test_a_list_takes_no_more_than_there_is_and_the_next_one_nothing_again(
    lines: list[Line], stock: dict[str, int | None], random: object
) -> None:
    decided = plan(lines, stock)
    keys = [each.key for each in decided.ship] + [each.line.key for each in decided.held]
    assert sorted(keys) == sorted(each.key for each in lines)
    for sku, pieces in taken(decided.ship).items():
        assert pieces <= (stock.get(sku) or 0)
    assert not any(each.holds or each.has_open_refund for each in decided.ship)
    assert all(each.reason and each.remedy for each in decided.held)
    # Whatever order the rows came in.
    shuffled = list(lines)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert plan(shuffled, stock).ship == decided.ship
    again = plan(lines, stock, {each.key for each in decided.ship})
    assert again.ship == ()
    assert {each.line.key for each in again.held} == {each.line.key for each in decided.held}


@settings(max_examples=150)
@given(drawn_lines, drawn_stock)
def test_nobody_is_overtaken_at_a_sku_that_was_short(lines: list[Line], stock: dict[str, int | None]) -> None:
    decided = plan(lines, stock)
    for each in decided.held:
        if not each.reason.startswith("stock: "):
            continue
        order = [mate for mate in lines if mate.order_id == each.line.order_id and not mate.has_open_refund]
        turn = min((mate.ship_by, mate.paid_at) for mate in order)
        for shipped in decided.ship:
            its = [mate for mate in decided.ship if mate.order_id == shipped.order_id]
            if shipped.sku == each.line.sku:
                assert min((mate.ship_by, mate.paid_at) for mate in its) <= turn


def test_what_must_leave_first_gets_the_stock_and_a_promise_counts_more_than_payment() -> None:
    early = line("early", hour=0)
    promised = line("promised", hour=5, promised_at=MORNING + timedelta(hours=8))
    later = line("later", hour=1, promised_at=MORNING + timedelta(days=20))
    decided = plan([later, early, promised], {"tea": 2})
    assert [each.order_id for each in decided.ship] == ["promised", "early"]
    (held,) = decided.held
    assert held.reason == "stock: 1 of tea are needed, 0 are left"


def test_an_order_leaves_whole_and_keeps_what_is_there_for_it() -> None:
    lines = [line("big", 1, "tea", 2), line("big", 2, "cup"), line("small", 1, "tea", hour=1)]
    decided = plan(lines, {"tea": 2, "cup": 0})
    assert decided.ship == ()
    assert {each.line.key: each.reason for each in decided.held} == {
        ("big", "big-1"): "waits for the rest of its order",
        ("big", "big-2"): "stock: 1 of cup are needed, 0 are left",
        ("small", "small-1"): "stock: 1 of tea are needed, 0 are left",
    }
    # A line whose refund is open keeps the others of its order waiting for nothing.
    lines[1] = lines[1]._replace(has_open_refund=True)
    assert [each.key for each in plan(lines, {"tea": 2, "cup": 0}).ship] == [("big", "big-1")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({"holds": (name,)}, text.partition(": ")[0]) for name, text in HOLDS.items()),
        ({"order_status": "PAID_FORBID_CONSIGN"}, "the platform forbids to send it (PAID_FORBID_CONSIGN)"),
        ({"has_open_refund": True}, "a refund of it is open"),
        ({"step_status": "FRONT_PAID_FINAL_NOPAID"}, "the final payment of its pre-sale is missing"),
        ({"sku": None, "parts": ()}, "its SKU is not known"),
        ({"sku": "new", "parts": (("new", 1),)}, "the stock of new is not known"),
        ({"sku": "odd", "parts": (("odd", 1),)}, "the stock of odd is not known"),
    ],
)
def test_what_is_held_back_says_why(changes: dict[str, Any], reason: str) -> None:
    (held,) = plan([line("o")._replace(**changes)], {"tea": 5, "odd": None}).held
    assert held.reason == reason


def test_a_pre_sale_that_is_paid_in_full_leaves() -> None:
    assert plan([line("o", step_status="FRONT_PAID_FINAL_PAID")], {"tea": 1}).ship


def test_a_bundle_takes_its_parts() -> None:
    bundle = line("b", sku="set", quantity=2, parts=(("tea", 4), ("cup", 2)))
    assert plan([bundle], {"tea": 4, "cup": 1, "set": 9}).ship == ()
    decided = plan([bundle, line("o", hour=1)], {"tea": 5, "cup": 2})
    assert len(decided.ship) == 2
    found = picks(("default", each) for each in decided.ship)
    assert [(pick.sku, pick.pieces, pick.orders) for pick in found] == [("cup", 2, 1), ("tea", 5, 2)]


LISTED = Listed("o", "o-1", "tea", 2)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (line("o", quantity=2), None),
        (line("o", quantity=2, is_shipped=True, has_open_refund=True), None),
        (None, "the line was taken off its order"),
        (line("o", quantity=0, status="TRADE_CLOSED"), "it was closed"),
        (line("o", quantity=2, status=None, order_status="TRADE_CLOSED_BY_TAOBAO"), "it was closed"),
        (line("o", quantity=0), "it was refunded"),
        (line("o", quantity=2, has_open_refund=True), "the buyer asks for a refund"),
        (line("o", quantity=2, holds=("forbid_consign",)), "the platform forbids to send it (forbid_consign)"),
        (line("o", quantity=2, order_status="PAID_FORBID_CONSIGN"), "the platform forbids to send it"),
        (line("o", sku="cup", quantity=2), "it is of cup now, not of tea"),
        (line("o", quantity=1), "1 piece is to be sent now, not 2"),
    ],
)
def test_a_listed_line_is_stopped_when_it_must_not_leave_so(now: Line | None, reason: str | None) -> None:
    assert stop_reason(LISTED, now) == reason
