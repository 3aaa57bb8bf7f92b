"""The purchase list: what is bought, why, and what bad input does to it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_pipeline.insights.quantiles import demand_quantile
from order_pipeline.insights.replenishment import Policy, expected_of_deposits, suggest
from order_pipeline.insights.suppliers import check_suppliers

# Many SKUs to a list, since the work is by column: a list of 20 takes as long as one of one.
rows = st.fixed_dictionaries(
    {
        "mean": st.floats(0, 300),
        "variance": st.floats(0, 5_000),
        "on_hand": st.integers(0, 5_000),
        "more": st.integers(0, 500),
        "reserved": st.integers(0, 500),
        "lead_time_days": st.integers(0, 60),
        "moq": st.integers(1, 500),
        "pack_size": st.integers(1, 48),
        "on_order": st.integers(0, 500),
        "lead_time_sd_days": st.integers(0, 10),
    }
)
SUPPLY = ["sku", "lead_time_days", "moq", "pack_size", "on_order", "lead_time_sd_days"]


def forecast_of(mean: float, variance: float, model: str = "trees") -> pd.DataFrame:
    row = {"sku": "tea", "model": model, "demand_class": "smooth", "mean": mean, "variance": max(variance, mean)}
    return pd.DataFrame([row | {"growth": 1.5, "own_wape": 0.5}])


def stock_of(on_hand: object, reserved: object = 0, held: object = 0) -> pd.DataFrame:
    return pd.DataFrame([{"sku": "tea", "on_hand": on_hand, "reserved": reserved, "held": held}])


def supplier_of(**columns: object) -> pd.DataFrame:
    usable, problems = check_suppliers(pd.DataFrame([{"sku": "tea", "lead_time_days": 7} | columns]))
    assert not problems
    return usable


def only(forecast: pd.DataFrame, stock: pd.DataFrame, supplier: pd.DataFrame, policy: Policy | None = None) -> Any:
    (line,) = suggest(forecast, stock, supplier, policy).suggestions.itertuples()
    return line


@settings(max_examples=8)
@given(st.lists(rows, min_size=10, max_size=20))
def test_purchases_reach_the_level_in_whole_packs_fall_with_stock_and_are_not_made_twice(
    drawn: list[dict[str, float]],
) -> None:
    inputs = pd.DataFrame(drawn)
    inputs.insert(0, "sku", [f"{number:02d}" for number in range(len(inputs))])

    def buy(**changes: Any) -> pd.DataFrame:
        changed = inputs.assign(**changes)
        said = changed[["sku", "mean"]].assign(model="trees", demand_class="smooth", growth=1.5, own_wape=0.5)
        said["variance"] = changed[["mean", "variance"]].max(axis=1)
        usable, problems = check_suppliers(changed[SUPPLY])
        assert not problems
        return suggest(said, changed[["sku", "on_hand", "reserved"]].assign(held=0), usable).suggestions

    lines = buy()
    assert len(lines) == len(inputs)
    assert (lines["position"] == inputs["on_hand"] + inputs["on_order"] - inputs["reserved"]).all()
    assert (lines["quantity"] >= 0).all()
    assert (lines["reorder_point"] <= lines["order_up_to"]).all()
    wanted = lines[["net_need", "moq"]].max(axis=1)
    for line, least in zip(lines.itertuples(), wanted, strict=True):
        row: Any = line
        if row.quantity:
            assert row.quantity % row.pack_size == 0
            # Rounded after the MOQ, up, and by less than a pack.
            assert 0 <= row.quantity - least < row.pack_size
            assert row.position <= row.reorder_point
        else:
            assert row.net_need == 0 or row.position > row.reorder_point
        assert row.reason
    assert (buy(on_hand=inputs["on_hand"] + inputs["more"])["quantity"] <= lines["quantity"]).all()
    assert (buy(on_order=inputs["on_order"] + lines["quantity"])["quantity"] == 0).all()


def test_the_same_inputs_make_the_same_list() -> None:
    inputs = forecast_of(20, 90), stock_of(5), supplier_of(moq=10)
    pd.testing.assert_frame_equal(suggest(*inputs).suggestions, suggest(*inputs).suggestions)


def test_every_line_shows_its_working() -> None:
    line = only(forecast_of(21, 63), stock_of(30, 4, 6), supplier_of(on_order=5, moq=24, pack_size=10), Policy(0.95))
    up_to = float(demand_quantile([21], [63], 14, 0.95)[0])  # type: ignore[arg-type]
    assert (line.daily_demand, line.lead_time_demand, line.order_up_to) == (3, 21, up_to)
    assert line.safety_stock == up_to - 42
    assert line.reorder_point == max(21 + line.safety_stock, 42)
    assert (line.position, line.net_need) == (25, up_to - 25)
    assert line.quantity == math.ceil(max(up_to - 25, 24) / 10) * 10
    assert (line.cover_days_before, line.cover_days_after) == (25 / 3, (25 + line.quantity) / 3)
    assert (line.model, line.own_wape, line.service_level) == ("trees", 0.5, 0.95)


@settings(max_examples=30)
@given(st.integers(0, 10_000_000), st.floats(0, 1), st.floats(0, 1))
def test_deposits_count_as_far_as_they_are_expected_to_be_paid(held: int, one: float, other: float) -> None:
    lower, higher = (int(expected_of_deposits(pd.Series([held]), rate)[0]) for rate in sorted((one, other)))
    assert 0 <= lower <= higher <= held
    assert min(one, other) * held - 1e-6 <= lower < min(one, other) * held + 1
    assert list(expected_of_deposits(pd.Series([held]), 1.0)) == [held]
    assert list(expected_of_deposits(pd.Series([held]), 0.0)) == [0]


def test_deposits_that_are_not_all_expected_to_be_paid_buy_less_and_the_line_says_so() -> None:
    inputs = forecast_of(21, 63), stock_of(30, 4, 30), supplier_of()
    whole, part = (only(*inputs, Policy(presale_conversion=rate)) for rate in (1.0, 0.1))
    assert (whole.held, part.held) == (30, 3)
    assert part.position == part.on_hand + part.on_order - part.reserved - part.held == whole.position + 27
    assert part.quantity < whole.quantity
    assert "3 of 30 held pieces are expected to be paid" in part.reason
    assert "expected to be paid" not in whole.reason
    with pytest.raises(ValueError, match="must be 0 to 1"):
        only(*inputs, Policy(presale_conversion=1.5))


def test_an_uncertain_lead_time_and_a_higher_service_level_raise_the_level() -> None:
    plain = only(forecast_of(21, 63), stock_of(0), supplier_of())
    uncertain = only(forecast_of(21, 63), stock_of(0), supplier_of(lead_time_sd_days=4))
    safe = only(forecast_of(21, 63), stock_of(0), supplier_of(), Policy(0.99))
    assert min(uncertain.order_up_to, safe.order_up_to) > plain.order_up_to


def test_a_moq_beyond_the_longest_cover_is_flagged_and_not_cut() -> None:
    line = only(forecast_of(7, 14), stock_of(0), supplier_of(moq=500, max_cover_days=60))
    assert (line.quantity, line.overshoots_cover) == (500, True)
    assert "overshoots 60 days" in line.reason
    assert not only(forecast_of(7, 14), stock_of(0), supplier_of(moq=10)).overshoots_cover


def test_what_no_longer_sells_is_bought_only_for_what_is_promised() -> None:
    dormant = forecast_of(0, 0, "dormant")
    assert only(dormant, stock_of(0), supplier_of()).quantity == 0
    assert only(dormant, stock_of(1, 3), supplier_of()).quantity == 2


def test_absurd_rows_are_named_with_row_and_column_and_the_rest_goes_on() -> None:
    rows = pd.DataFrame(
        [
            ("tea", 7, 10),
            ("cup", "soon", 10),
            ("pot", 7, -3),
            (None, 7, 1),
            ("tea", 9, 1),
            ("jar", "", 1),
            ("tin", 9999, 1),
        ],
        columns=["sku", "lead_time_days", "moq"],
        index=range(2, 9),
    )
    usable, problems = check_suppliers(rows)
    assert list(usable["sku"]) == ["tea"]
    named = {(problem.row, problem.column) for problem in problems}
    assert named == {
        (3, "lead_time_days"),
        (4, "moq"),
        (5, "sku"),
        (6, "sku"),
        (7, "lead_time_days"),
        (8, "lead_time_days"),
    }
    assert any("'soon'" in problem.message and "cup" in problem.message for problem in problems)

    skus = ["tea", "cup", "pot", "jar"]
    forecast = pd.concat([forecast_of(21, 63).assign(sku=sku) for sku in skus], ignore_index=True)
    stock = pd.concat([stock_of(amount) for amount in (1, "many", -5)], ignore_index=True).assign(sku=skus[:3])
    restock = suggest(forecast, stock, usable)
    assert list(restock.suggestions["sku"]) == ["tea"]
    assert {(1, "on_hand"), (2, "on_hand"), ("jar", "on_hand"), ("jar", "lead_time_days")} <= {
        (problem.row, problem.column) for problem in restock.problems
    }


def test_a_supplier_file_without_a_needed_column_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="lead_time_days is missing; found sku, moq"):
        check_suppliers(pd.DataFrame(columns=["sku", "moq"]))
    with pytest.raises(ValueError, match="between 0 and 1"):
        suggest(forecast_of(1, 1), stock_of(1), supplier_of(), Policy(90))
