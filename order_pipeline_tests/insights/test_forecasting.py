"""The forecast of a shop: its models, what it may read, its calibration, and its backtest."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from order_pipeline.insights.backtest import rolling_origin, scores
from order_pipeline.insights.forecasting import forecast
from order_pipeline.insights.inventory_replay import Outcome, lost_at, replay
from order_pipeline.insights.panel import Panel, make_panel
from order_pipeline.insights.quantiles import Spread, calibrate, demand_quantile, quantile
from order_pipeline.insights.smoothing import imapa

FIRST = date(2025, 1, 1)
DAYS = 280
UNTIL = FIRST + timedelta(days=DAYS)


def sales_of(quantity: np.ndarray, first: date = FIRST) -> pd.DataFrame:
    """Daily sales of SKUs 0000, 0001, … from a table of SKUs by days."""
    rows, columns = np.nonzero(quantity)
    days = pd.Timestamp(first) + pd.to_timedelta(columns, unit="D")
    return pd.DataFrame(
        {"sku": [f"{row:04d}" for row in rows], "day": days, "quantity": quantity[rows, columns], "in_stock": True}
    )


@pytest.fixture(scope="module")
def shop() -> np.ndarray:
    """200 SKUs whose levels wander a little: gamma rates, negative binomial days."""
    random = np.random.default_rng(7)
    level = random.gamma(0.6, 3.0, (200, 1)) * np.exp(np.cumsum(random.normal(0, 0.02, (200, DAYS)), axis=1))
    return random.poisson(level * random.gamma(1.0, 1.0, (200, DAYS)))


@pytest.fixture(scope="module")
def panel(shop: np.ndarray) -> Panel:
    return make_panel(sales_of(shop), FIRST, UNTIL)


@pytest.fixture(scope="module")
def judged(panel: Panel) -> pd.DataFrame:
    return rolling_origin(panel, [UNTIL - timedelta(days=days) for days in (56, 28)])


def test_the_forecast_beats_the_last_week_without_bias_and_covers_as_promised(judged: pd.DataFrame) -> None:
    every = scores(judged).loc["all"]
    assert set(judged["model"]) >= {"trees"}
    assert every["wape"] < 0.9 * every["wape_week_before"]
    assert abs(every["bias"]) < 0.1
    assert 0.86 < every["coverage"] < 0.94
    assert every["long_coverage"] > 0.83


def test_the_quantile_holds_over_the_days_of_other_lead_times_too(panel: Panel) -> None:
    at = DAYS - 21
    said = forecast(panel, FIRST + timedelta(days=at)).set_index("sku")
    rows = panel.skus.get_indexer(said.index)
    inside = {}
    for days in (14, 21):
        level = demand_quantile(
            said["mean"].to_numpy(), said["variance"].to_numpy(), days, 0.9, said["growth"].to_numpy()
        )
        inside[days] = (panel.sums(at, at + days, rows) <= level).mean()
    assert all(0.82 < covered < 0.97 for covered in inside.values()), inside


def test_the_backtest_scores_each_class_of_demand(judged: pd.DataFrame) -> None:
    table = scores(judged)
    assert {"all", "intermittent", "erratic"} <= set(table.index)
    assert table["forecasts"].drop("all").sum() == table.loc["all", "forecasts"] == len(judged)
    error = (judged["mean"] - judged["actual"]).abs().sum() / judged["actual"].sum()
    assert table.loc["all", "wape"] == pytest.approx(error)


def test_nothing_at_or_after_the_origin_is_read(shop: np.ndarray) -> None:
    at = DAYS - 28
    origin = FIRST + timedelta(days=at)
    otherwise = shop.copy()
    otherwise[:, at:] = 999
    known = forecast(make_panel(sales_of(shop), FIRST, UNTIL), origin)
    other = forecast(make_panel(sales_of(otherwise), FIRST, UNTIL), origin).head(len(known))
    pd.testing.assert_frame_equal(known, other)


def test_known_promotions_are_used() -> None:
    random = np.random.default_rng(3)
    promoted = np.repeat(random.random((100, DAYS // 7)) < 0.15, 7, axis=1)
    quantity = random.poisson(np.where(promoted, 12.0, 3.0))
    rows, columns = np.nonzero(promoted)
    plan = pd.DataFrame(
        {
            "sku": [f"{row:04d}" for row in rows],
            "day": pd.Timestamp(FIRST) + pd.to_timedelta(columns, unit="D"),
            "kind": "banner",
            "strength": 1.0,
        }
    )
    origin = UNTIL - timedelta(days=7)
    panel = make_panel(sales_of(quantity[:, :-7]), FIRST, origin, promotions=plan, promotions_until=UNTIL)
    mean = forecast(panel, origin).set_index("sku")["mean"].to_numpy()
    assert mean[promoted[:, -1]].mean() == pytest.approx(84, rel=0.15)
    assert mean[~promoted[:, -1]].mean() == pytest.approx(21, rel=0.15)


def test_a_small_shop_is_forecast_by_smoothing() -> None:
    quantity = np.full((3, 100), 2)
    panel = make_panel(sales_of(quantity), FIRST, FIRST + timedelta(days=100))
    said = forecast(panel, FIRST + timedelta(days=100))
    assert list(said["model"]) == ["smoothing"] * 3
    assert said["mean"].to_numpy() == pytest.approx(14)
    assert list(said["demand_class"]) == ["smooth"] * 3


def test_days_without_stock_do_not_teach_that_nobody_wants_it() -> None:
    quantity = np.full((2, 120), 3)
    quantity[0, 100:] = 0
    sales = sales_of(quantity)
    empty = pd.DataFrame(
        {
            "sku": "0000",
            "day": pd.Timestamp(FIRST) + pd.to_timedelta(range(100, 120), unit="D"),
            "quantity": 0,
            "in_stock": False,
        }
    )
    until = FIRST + timedelta(days=120)
    censored = forecast(make_panel(pd.concat([sales, empty]), FIRST, until), until)
    naive = forecast(make_panel(sales, FIRST, until), until)
    assert censored["mean"].to_numpy() == pytest.approx([21, 21])
    assert naive["mean"][0] < 15
    judged = rolling_origin(make_panel(pd.concat([sales, empty]), FIRST, until), [until - timedelta(days=7)])
    assert list(judged["sku"]) == ["0001"]


def test_dormant_and_new_skus_are_told_from_the_others() -> None:
    quantity = np.zeros((4, 200), dtype=int)
    quantity[0] = 1
    quantity[1, :100] = 1
    quantity[2, 60:] = 2
    quantity[3, 186:] = 8
    until = FIRST + timedelta(days=200)
    said = forecast(make_panel(sales_of(quantity), FIRST, until), until).set_index("sku")
    assert list(said["model"]) == ["smoothing", "dormant", "smoothing", "cold start"]
    assert (said.loc["0001", "mean"], said.loc["0001", "q90"]) == (0, 0)
    # Two weeks of 56, and the 14 a week of the one earlier newcomer, count alike.
    assert said.loc["0003", "mean"] == pytest.approx((2 * 56 + 2 * 14) / 4)


def test_a_newcomer_is_compared_with_newcomers_of_its_category() -> None:
    quantity = np.zeros((4, 200), dtype=int)
    quantity[0] = 1
    quantity[1, 60:] = 1
    quantity[2, 60:] = 9
    quantity[3, 193:] = 1
    until = FIRST + timedelta(days=200)
    panel = make_panel(sales_of(quantity), FIRST, until)
    categories = pd.Series({"0000": "tea", "0001": "tea", "0002": "pots", "0003": "tea"})
    shop_wide = forecast(panel, until)["mean"].iloc[3]
    said = forecast(panel, until, categories=categories)["mean"].iloc[3]
    assert said == pytest.approx(7)
    assert shop_wide > said


def test_an_origin_outside_the_sales_is_refused() -> None:
    panel = make_panel(sales_of(np.ones((1, 30), dtype=int)), FIRST, FIRST + timedelta(days=30))
    with pytest.raises(ValueError, match="the sales cover 30 days"):
        forecast(panel, FIRST + timedelta(days=31))
    with pytest.raises(ValueError, match="cannot judge"):
        rolling_origin(panel, [FIRST + timedelta(days=25)])
    with pytest.raises(ValueError, match="no day between"):
        make_panel(sales_of(np.ones((1, 3), dtype=int)), FIRST, FIRST)


def test_smoothing_agrees_with_the_library_on_regular_sales() -> None:
    # What statsforecast 2.1.1's IMAPA said of the same series.
    recorded = [31.66, 44.24, 61.87, 85.0, 101.34, 118.8]
    weeks = np.arange(26)
    series = np.stack(
        [
            np.round((20 + 15 * k) * (1 + 0.4 * np.sin(weeks * (1 + k) / 3)) + (weeks * 7 + k * 3) % 11 + k * weeks / 4)
            for k in range(6)
        ]
    )
    ours = imapa(series)
    assert np.abs(ours - recorded).sum() / np.sum(recorded) < 0.1


def test_quantiles_are_those_of_the_demand_that_they_describe() -> None:
    random = np.random.default_rng(1)
    mean, variance = 12.0, 40.0
    drawn = random.negative_binomial(mean**2 / (variance - mean), mean / variance, 20_000)
    limit = quantile(np.array([mean]), np.array([variance]), 0.9)[0]
    assert limit == pytest.approx(np.quantile(drawn, 0.9), abs=1)
    assert list(quantile(np.zeros(2), np.ones(2), 0.9)) == [0, 0]
    # Four independent weeks.
    month = demand_quantile(np.array([mean]), np.array([variance]), 28, 0.9, 1.0)[0]
    assert month == pytest.approx(np.quantile(drawn.reshape(-1, 4).sum(axis=1), 0.9), abs=2)


def test_calibration_believes_half_of_what_the_last_weeks_say() -> None:
    random = np.random.default_rng(2)
    mean, variance = np.full(5_000, 10.0), np.full(5_000, 10.0)
    actual = random.negative_binomial(16**2 / (64 - 16), 16 / 64, 5_000).astype(float)
    nothing = (np.zeros(0), np.zeros(0), np.zeros(0), 28)
    learnt = calibrate(actual, mean, variance, 0.9, nothing)
    assert learnt.bias == pytest.approx(1.6**0.5, rel=0.03)
    assert learnt.multiplier > 1.2
    assert calibrate(actual[:20], mean[:20], variance[:20], 0.9, nothing) == Spread()


def test_replayed_stock_is_ordered_delivered_and_lost_as_it_should_be() -> None:
    demand = np.ones((1, 14))
    enough = replay(demand, np.full((1, 2), 20.0), lead_time_days=5)
    # 20 … 14 on hand before the second review, 7 more arrive on day 12.
    assert (enough.lost, enough.demand) == (0, 14)
    assert enough.average_stock == pytest.approx((sum(range(13, 20)) + 12 + 11 + 10 + 9 + 8 + 14 + 13) / 14)
    short = replay(demand, np.full((1, 2), 5.0), lead_time_days=5)
    assert short.lost == 2 + 5
    assert lost_at([Outcome(10, 8, 14), Outcome(20, 0, 14)], 15) == 4
    assert np.isnan(lost_at([Outcome(10, 8, 14), Outcome(20, 0, 14)], 25))
