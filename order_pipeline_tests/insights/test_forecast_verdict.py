"""The verdict about a shop's backtest: which scores are complained of, in which words, and which are not judged."""

from __future__ import annotations

import pandas as pd
import pytest

from order_pipeline.insights.forecast_verdict import FEWEST_FORECASTS, complaints

GOOD = {
    "demand_class": "all", "forecasts": 1_000, "sold": 5_000.0, "wape": 0.5, "wape_week_before": 0.6, "bias": 0.02,
    "coverage": 0.9,
}  # fmt: skip


def verdict(*changes: dict[str, object]) -> list[str]:
    return complaints(pd.DataFrame([GOOD | change for change in changes]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"wape": 0.7}, "all SKUs: WAPE 0.70, with the week before as the forecast 0.60"),
        ({"bias": 0.25}, "all SKUs: too much is forecast, +25%"),
        ({"bias": -0.12}, "all SKUs: too little is forecast, -12%"),
        ({"coverage": 0.7}, "all SKUs: 70% of the weeks stay within the 90 % quantile"),
        ({"coverage": 0.99}, "all SKUs: 99% of the weeks stay within the 90 % quantile"),
        ({"demand_class": "lumpy", "wape": 0.7}, "lumpy SKUs: WAPE 0.70, with the week before as the forecast 0.60"),
    ],
)
def test_each_fault_of_a_forecast_is_a_sentence(change: dict[str, object], said: str) -> None:
    assert verdict({}, change) == [said]


def test_a_good_backtest_is_not_complained_of_nor_is_one_at_the_limits() -> None:
    assert verdict({}, {"wape": 0.6, "bias": 0.1, "coverage": 0.82}) == []


@pytest.mark.parametrize("change", [{"forecasts": FEWEST_FORECASTS - 1}, {"sold": 0.0}])
def test_what_says_too_little_is_not_judged(change: dict[str, object]) -> None:
    bad: dict[str, object] = {"wape": 2.0, "bias": 1.0, "coverage": 0.1}
    assert len(verdict(bad)) == 3
    assert verdict(bad | change) == []


def test_bias_is_judged_of_all_classes_together_and_unknown_coverage_not_at_all() -> None:
    assert verdict({"demand_class": "smooth", "bias": 0.5}, {"coverage": float("nan")}) == []
