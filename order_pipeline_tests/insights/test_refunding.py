"""What refunds take off a line: pieces, money and reserved stock, once, whatever came first."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_pipeline.insights.refunding import EXCHANGES, Line, LineRefund, refunded, reserved

WAITING = Line(4, Decimal("40.00"), "WAIT_SELLER_SEND_GOODS")
SENT = Line(4, Decimal("40.00"), "WAIT_BUYER_CONFIRM_GOODS", is_shipped=True)


def unsent(fee: str, quantity: int | None = None, *, status: str = "SUCCESS") -> LineRefund:
    return LineRefund(status, Decimal(fee), quantity, good_status="BUYER_NOT_RECEIVED")


def returned(fee: str, quantity: int) -> LineRefund:
    return LineRefund(
        "SUCCESS", Decimal(fee), quantity, "REFUND_AND_RETURN", "BUYER_RETURNED_GOODS", has_good_return=True
    )


def kept(fee: str, quantity: int) -> LineRefund:
    return LineRefund("SUCCESS", Decimal(fee), quantity, "REFUND", "BUYER_RECEIVED", has_good_return=False)


@pytest.mark.parametrize(
    ("line", "refunds", "quantity", "payment"),
    [
        (WAITING, [], 0, "0"),
        (WAITING, [unsent("40.00")], 4, "40"),
        (WAITING, [unsent("10.00", 1)], 1, "10"),
        (WAITING, [unsent("9.99", 1)], 1, "9.99"),
        # Less money than the pieces cost is a lower price: all of them are sent.
        (WAITING, [unsent("5.00", 4)], 0, "5"),
        (WAITING, [unsent("5.00", 1)], 0, "5"),
        (WAITING, [unsent("10.00", 1), unsent("10.00", 1), unsent("20.00", 2)], 4, "40"),
        # In three steps the whole payment went back.
        (WAITING, [unsent("15.00", 4), unsent("15.00", 4), unsent("10.00", 4)], 4, "40"),
        (WAITING, [unsent("40.00"), unsent("40.00")], 4, "40"),
        (WAITING, [unsent("40.00", status="CLOSED")], 0, "0"),
        (WAITING, [unsent("40.00", status="WAIT_SELLER_AGREE")], 0, "0"),
        (WAITING._replace(status="TRADE_CLOSED"), [unsent("40.00")], 4, "40"),
        (SENT, [returned("20.00", 2)], 2, "20"),
        (SENT, [returned("20.00", 2), returned("20.00", 2)], 4, "40"),
        (SENT, [kept("10.00", 4)], 0, "10"),
        (SENT, [kept("40.00", 4)], 0, "40"),
        (SENT, [kept("30.00", 4), kept("30.00", 4)], 0, "40"),
        (SENT, [returned("10.00", 1), kept("5.00", 4)], 1, "15"),
        # Lost on its way: sent, never received, paid back.
        (SENT, [unsent("40.00", 4)], 4, "40"),
        *((SENT, [returned("0.00", 4)._replace(dispute_type=kind)], 0, "0") for kind in sorted(EXCHANGES)),
        (Line(1, Decimal(0), "WAIT_SELLER_SEND_GOODS"), [unsent("0.00", 1)], 1, "0"),
    ],
)
def test_what_successful_refunds_take_off_a_line(
    line: Line, refunds: list[LineRefund], quantity: int, payment: str
) -> None:
    assert refunded(line, refunds) == (quantity, Decimal(payment))


class Version(NamedTuple):
    """One piece of news: the newest state of the line (refund None) or of a refund, as of ``moment``."""

    moment: int
    refund: int | None
    state: Line | LineRefund


def newest(news: list[Version]) -> tuple[Line | None, list[LineRefund]]:
    """Keep what the version guard of the tables keeps."""
    states: dict[int | None, Version] = {}
    for version in news:
        held = states.get(version.refund)
        if held is None or held.moment < version.moment:
            states[version.refund] = version
    lines = [version.state for version in states.values() if isinstance(version.state, Line)]
    refunds = [version.state for version in states.values() if isinstance(version.state, LineRefund)]
    return (lines[0] if lines else None), refunds


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[Version], list[int]]:
    """Draw a line of some pieces of 10.00 that refunds take pieces off before it is sent; some are given up, one comes
    back. Return what is told of it, and how many pieces are reserved after each moment.
    """
    quantity = draw(st.integers(1, 6))
    line = Line(quantity, Decimal(10 * quantity), "WAIT_SELLER_SEND_GOODS")
    news, left, expected = [Version(0, None, line)], quantity, [quantity]
    for number in range(draw(st.integers(0, 4))):
        pieces = draw(st.integers(1, max(1, left)))
        if not left:
            break
        fee = Decimal(10 * pieces)
        asked = LineRefund("WAIT_SELLER_AGREE", fee, pieces, "REFUND", "BUYER_NOT_RECEIVED")
        steps = draw(
            st.sampled_from(
                [
                    ["WAIT_SELLER_AGREE", "SUCCESS"],
                    ["WAIT_SELLER_AGREE", "CLOSED"],
                    ["WAIT_SELLER_AGREE", "CLOSED", "WAIT_SELLER_AGREE", "SUCCESS"],
                    ["WAIT_SELLER_AGREE", "SELLER_REFUSE_BUYER", "SUCCESS"],
                ]
            )
        )
        for status in steps:
            moment = len(expected)
            news.append(Version(moment, number, asked._replace(status=status)))
            left -= pieces if status == "SUCCESS" else 0
            expected.append(left)
        if not left:
            news.append(Version(len(expected), None, line._replace(status="TRADE_CLOSED")))
            expected.append(0)
    return news, expected


@settings(max_examples=200)
@given(lives(), st.data())
def test_a_refund_frees_exactly_its_pieces_once_in_any_order_of_news(
    life: tuple[list[Version], list[int]], data: st.DataObject
) -> None:
    news, expected = life
    # As each thing happens, just its pieces become free.
    for moment, wanted in enumerate(expected):
        line, refunds = newest([version for version in news if version.moment <= moment])
        assert line is not None
        assert reserved(line, refunds) == wanted
    # However often and in whatever order it is told, the end is the same; and nothing is ever freed twice on the way.
    told = data.draw(st.permutations(news + data.draw(st.lists(st.sampled_from(news), max_size=8))))
    for until in range(1, len(told) + 1):
        line, refunds = newest(told[:until])
        if line:
            assert 0 <= reserved(line, refunds) <= line.quantity
            assert reserved(line, refunds) >= expected[-1]
    line, refunds = newest(told)
    assert line is not None
    assert reserved(line, refunds) == expected[-1]


amounts = st.integers(0, 5_000).map(lambda cents: Decimal(cents) / 100)
refund_states = st.builds(
    LineRefund,
    st.sampled_from(["SUCCESS", "SUCCESS", "CLOSED", "WAIT_SELLER_AGREE"]),
    st.none() | amounts,
    st.none() | st.integers(0, 5),
    st.sampled_from([None, "REFUND", "REFUND_AND_RETURN", *sorted(EXCHANGES)]),
    st.sampled_from([None, "BUYER_NOT_RECEIVED", "BUYER_RECEIVED", "BUYER_RETURNED_GOODS"]),
    st.sampled_from([None, True, False]),
)
line_states = st.builds(
    Line,
    st.integers(0, 5),
    amounts,
    st.sampled_from([None, "WAIT_SELLER_SEND_GOODS", "PAID_FORBID_CONSIGN", "TRADE_CLOSED", "TRADE_FINISHED"]),
    st.booleans(),
)


@given(line_states, st.lists(refund_states, max_size=4))
def test_nothing_is_ever_more_than_the_line_has(line: Line, refunds: list[LineRefund]) -> None:
    off = refunded(line, refunds)
    assert 0 <= off.quantity <= line.quantity
    assert 0 <= off.payment <= line.paid
    assert 0 <= reserved(line, refunds) <= line.quantity
    assert refunded(line, refunds[::-1]) == off
