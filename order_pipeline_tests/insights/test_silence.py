"""When nothing for a while is too quiet to be true."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.insights.silence import FEWEST_DAYS_BEFORE, FEWEST_EXPECTED, is_unusually_silent


def test_nothing_is_suspect_where_other_days_had_many() -> None:
    assert is_unusually_silent([40, 31, 55])
    assert is_unusually_silent([FEWEST_EXPECTED] * 7)


def test_nothing_is_believed_where_other_days_had_few_or_none() -> None:
    assert not is_unusually_silent([0] * 7)
    assert not is_unusually_silent([FEWEST_EXPECTED - 1] * 7)


def test_one_days_sale_makes_no_usual_hour() -> None:
    assert not is_unusually_silent([5_000, 3, 2, 4, 3])


def test_with_too_few_days_to_compare_with_nothing_is_suspect() -> None:
    assert not is_unusually_silent([])
    assert not is_unusually_silent([1_000] * (FEWEST_DAYS_BEFORE - 1))


@given(st.lists(st.integers(0, 100)), st.integers(0, 100))
def test_busier_days_before_never_make_silence_less_suspect(before: list[int], more: int) -> None:
    assert is_unusually_silent([count + more for count in before]) >= is_unusually_silent(before)
