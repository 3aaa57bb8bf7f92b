"""Which order lines are demand, of which SKU, and on which day."""

from __future__ import annotations

from typing import Any

import pandas as pd

from order_pipeline.insights.demand import Demand, DemandRules, daily_sku_sales


def line(**changes: Any) -> dict[str, Any]:
    """A line that was paid and shipped."""
    usual = {
        "order_id": "1",
        "sku": "tea",
        "buyer": "wang",
        "quantity": 2,
        "payment": 50.0,
        "paid_at": "2026-03-01T10:00+08:00",
        "final_paid_at": None,
        "is_step_presale": False,
        "shipped_at": "2026-03-02T10:00+08:00",
        "closed_at": None,
        "seller_flag": None,
    }
    return usual | changes


def sales_of(*lines: dict[str, Any], **options: Any) -> Demand:
    frame = pd.DataFrame(list(lines))
    for name in ("paid_at", "final_paid_at", "shipped_at", "closed_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return daily_sku_sales(frame, **options)


def quantities(demand: Demand) -> dict[tuple[str, str], int]:
    return {(row.sku, str(row.day)[:10]): row.quantity for row in demand.sales.itertuples()}  # type: ignore[misc]


def test_a_sale_counts_on_the_shanghai_day_of_its_payment() -> None:
    demand = sales_of(line(paid_at="2026-03-01T15:59:59Z"), line(order_id="2", paid_at="2026-03-01T16:00:00Z"))
    assert quantities(demand) == {("tea", "2026-03-01"): 2, ("tea", "2026-03-02"): 2}


def test_a_presale_counts_by_its_final_payment_only() -> None:
    deposit = line(is_step_presale=True, paid_at="2026-03-01T10:00+08:00")
    final = deposit | {"order_id": "2", "final_paid_at": "2026-03-11T00:10+08:00"}
    demand = sales_of(deposit, final)
    assert quantities(demand) == {("tea", "2026-03-11"): 2}
    assert demand.left_out["not paid in full"] == 1


def test_closed_before_shipping_is_no_demand_and_refunded_after_it_is() -> None:
    closed = line(closed_at="2026-03-05T10:00+08:00")
    demand = sales_of(closed | {"shipped_at": None}, closed | {"order_id": "2"}, line(order_id="3", paid_at=None))
    assert quantities(demand) == {("tea", "2026-03-01"): 2}
    assert demand.left_out["closed before shipping"] == demand.left_out["not paid in full"] == 1


def test_each_cancellation_voids_one_equal_purchase_of_the_same_buyer_within_two_days() -> None:
    back = line(order_id="C", quantity=-2, paid_at="2026-03-02T10:00+08:00")
    demand = sales_of(
        line(order_id="earlier", paid_at="2026-02-27T10:00+08:00"),
        line(),
        line(order_id="again", paid_at="2026-03-02T09:00+08:00"),
        line(order_id="li", buyer="li"),
        line(order_id="three", quantity=3),
        back,
        back | {"order_id": "nobody", "buyer": None},
    )
    assert quantities(demand) == {("tea", "2026-02-27"): 2, ("tea", "2026-03-01"): 7}
    assert (demand.left_out["voided"], demand.left_out["cancellation"]) == (1, 2)


def test_gifts_and_what_the_merchant_marks_are_left_out() -> None:
    rules = DemandRules(seller_flags=frozenset({5}), buyers=frozenset({"tester"}), skus=frozenset({"postage"}))
    lines = [line(payment=0.0), line(seller_flag=5), line(buyer="tester"), line(sku="postage"), line(order_id="9")]
    demand = sales_of(*lines, rules=rules)
    assert quantities(demand) == {("tea", "2026-03-01"): 2}
    assert (demand.left_out["gift"], demand.left_out["excluded by rule"]) == (1, 3)
    free = sales_of(lines[0], rules=DemandRules(gifts_are_free=False))
    assert quantities(free) == {("tea", "2026-03-01"): 2}


def test_bundles_become_their_components_also_bundles_of_bundles() -> None:
    bundles = pd.DataFrame(
        [("set", "tea", 2), ("set", "cup", 1), ("chest", "set", 3), ("loop", "loop", 1), ("odd", "tea", "two")],
        columns=["bundle_sku", "component_sku", "units"],
    )
    demand = sales_of(
        line(sku="set"), line(sku="chest", quantity=1), line(sku="loop"), line(sku="cup"), bundles=bundles
    )
    day = "2026-03-01"
    assert quantities(demand) == {("tea", day): 4 + 6, ("cup", day): 2 + 3 + 2, ("loop", day): 2}
    assert [(problem.row, problem.column) for problem in demand.problems] == [(4, "units"), (3, "component_sku")]


def test_days_without_stock_are_marked_even_where_nothing_was_sold() -> None:
    days = pd.to_datetime(["2026-03-01", "2026-03-02", "2026-03-03"])
    stock = pd.DataFrame({"sku": "tea", "day": days, "sellable": [0, -1, 4]})
    rows = sales_of(line(), stock=stock).sales
    assert list(zip(rows["quantity"], rows["in_stock"], strict=True)) == [(2, False), (0, False)]


def test_lines_that_cannot_be_counted_are_named_and_the_rest_goes_on() -> None:
    demand = sales_of(line(sku=None), line(quantity="two"), line(quantity=1.5), line())
    assert quantities(demand) == {("tea", "2026-03-01"): 2}
    assert [(problem.row, problem.column) for problem in demand.problems] == [
        (0, "sku"),
        (1, "quantity"),
        (2, "quantity"),
    ]
    assert "'two'" in demand.problems[1].message
