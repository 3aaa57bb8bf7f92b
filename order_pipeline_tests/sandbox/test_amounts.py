"""The contract's formulas (4.1, 4.2), checked on what the wire shows."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from order_pipeline.sandbox.amounts import divide
from order_pipeline.sandbox.demand import synthetic
from order_pipeline.sandbox.fields import everything
from order_pipeline.sandbox.life import plan_life
from order_pipeline.sandbox.rendering import render_trade
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.sandbox.trade import apply, open_trade
from order_pipeline_tests.sandbox.conftest import NOW


def states(seed: int, mean_lines: float, orders: int = 4) -> Iterator[dict[str, Any]]:
    """Every state in the life of some orders, as fullinfo shows it."""
    selection = everything("detail")
    for ordinal, basket in enumerate(synthetic(seed, epoch=NOW, orders=orders, mean_lines=mean_lines).baskets):
        placement, events = plan_life(seed, ordinal, basket)
        trade = open_trade(placement)
        for event in events:
            apply(trade, event)
            yield render_trade(trade, DEMO_SHOP, selection)


def yuan(value: dict[str, Any], name: str) -> Decimal:
    amount = Decimal(value[name])
    assert amount.as_tuple().exponent == -2
    return amount


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), mean_lines=st.sampled_from([1.0, 1.67, 9.0]))
def test_amounts_add_up_in_every_state_of_every_life(seed: int, mean_lines: float) -> None:
    for trade in states(seed, mean_lines):
        orders = trade["orders"]["order"]
        single = len(orders) == 1
        fees = shares = gross = Decimal(0)
        for order in orders:
            price = yuan(order, "price") * order["num"]
            fee = price + yuan(order, "adjust_fee") - yuan(order, "discount_fee")
            assert yuan(order, "total_fee") == fee >= 0
            assert yuan(order, "payment") == (yuan(trade, "payment") if single else fee)
            assert yuan(order, "divide_order_fee") == fee - yuan(order, "part_mjz_discount") >= 0
            fees, shares, gross = fees + fee, shares + yuan(order, "part_mjz_discount"), gross + price
        assert yuan(trade, "total_fee") == gross
        assert yuan(trade, "discount_fee") == shares
        assert yuan(trade, "payment") == fees - shares + yuan(trade, "post_fee")
        assert yuan(trade, "adjust_fee") == (yuan(orders[0], "adjust_fee") if single else 0)
        assert 0 <= yuan(trade, "received_payment") <= yuan(trade, "payment")


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_item_fields_stand_on_the_trade_only_for_a_single_line(seed: int) -> None:
    for trade in states(seed, 1.67):
        orders = trade["orders"]["order"]
        if len(orders) == 1:
            assert orders[0]["oid"] == trade["tid"]
            assert {name: trade[name] for name in ("num", "num_iid", "price")} == {
                name: orders[0][name] for name in ("num", "num_iid", "price")
            }
        else:
            assert trade["num"] == 0
            assert not {"num_iid", "price"} & set(trade)
            assert len({trade["tid"], *(order["oid"] for order in orders)}) == len(orders) + 1


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=30), st.data())
def test_a_divided_discount_loses_no_cent(weights: list[int], data: st.DataObject) -> None:
    amount = data.draw(st.integers(0, sum(weights)))
    parts = divide(amount, weights)
    assert sum(parts) == amount
    assert all(0 <= part <= weight for part, weight in zip(parts, weights, strict=True))
