"""Which span to ask for next, and how far the watermark may move."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.platforms.protocol import Window
from order_pipeline.sync.windows import (
    SETTLE_LAG,
    SHANGHAI,
    changed_window,
    created_window,
    day_of,
    day_window,
    due_days,
    due_history_days,
    moved_watermark,
)

DAY = date(2026, 3, 15)


def at(text: str) -> datetime:
    return datetime.strptime(text, "%d %H:%M:%S").replace(year=2026, month=3, tzinfo=SHANGHAI)


moments = st.datetimes(datetime(2026, 3, 1), datetime(2026, 3, 31)).map(  # noqa: DTZ001 - hypothesis wants naive ends
    lambda moment: moment.replace(microsecond=0, tzinfo=SHANGHAI)
)


def test_a_pass_begins_the_overlap_before_the_watermark() -> None:
    assert changed_window(DAY, at("15 10:00:00"), at("15 10:01:00")) == Window(at("15 09:55:00"), at("15 10:01:00"))


def test_a_window_never_crosses_midnight() -> None:
    assert changed_window(DAY, at("15 23:58:00"), at("16 00:03:00")) == Window(at("15 23:53:00"), at("16 00:00:00"))
    assert changed_window(date(2026, 3, 16), at("15 23:58:00"), at("16 00:03:00")) == Window(
        at("16 00:00:00"), at("16 00:03:00")
    )


def test_yesterday_is_touched_again_while_the_overlap_reaches_into_it() -> None:
    assert due_days(at("16 00:02:00"), at("16 00:03:00")) == [DAY, date(2026, 3, 16)]
    assert due_days(at("16 00:06:00"), at("16 00:07:00")) == [date(2026, 3, 16)]
    assert changed_window(DAY, at("16 00:02:00"), at("16 00:03:00")) == Window(at("15 23:57:00"), at("16 00:00:00"))


def test_a_day_that_is_long_closed_is_read_whole() -> None:
    assert changed_window(DAY, at("20 10:00:00"), at("20 10:01:00")) == day_window(DAY)


def test_a_day_that_has_not_begun_is_not_asked_for() -> None:
    assert changed_window(date(2026, 3, 16), at("15 10:00:00"), at("15 10:01:00")) is None
    assert created_window(date(2026, 3, 16), at("15 10:01:00")) is None


def test_the_watermark_stays_behind_the_second_that_is_running() -> None:
    stored = Window(at("15 09:55:00"), at("15 10:01:00"))
    assert moved_watermark(at("15 10:00:00"), stored, at("15 10:01:00")) == at("15 10:01:00") - SETTLE_LAG


def test_the_watermark_does_not_jump_over_days_that_were_not_read() -> None:
    assert moved_watermark(at("13 10:00:00"), day_window(DAY), at("17 10:00:00")) == at("13 10:00:00")


def test_the_first_load_covers_every_day_up_to_where_the_watermark_began() -> None:
    days = due_history_days(at("15 10:00:00"), at("15 10:05:00"), set())
    assert (days[0], days[-1], len(days)) == (date(2025, 12, 15), DAY, 91)
    assert due_history_days(at("15 10:00:00"), at("15 10:05:00"), set(days[:-2])) == days[-2:]


def test_days_that_the_platform_lists_no_longer_are_not_due() -> None:
    assert due_history_days(at("15 10:00:00"), at("15 10:05:00") + timedelta(days=88), set())[0] == date(2026, 3, 13)


@given(watermark=moments, now=moments, overlap=st.timedeltas(timedelta(0), timedelta(minutes=45)))
def test_the_windows_of_a_pass_leave_no_gap_between_watermark_and_now(
    watermark: datetime, now: datetime, overlap: timedelta
) -> None:
    overlap -= timedelta(microseconds=overlap.microseconds)
    position = watermark
    reached = watermark - overlap
    for day in due_days(watermark, now, overlap=overlap):
        window = changed_window(day, position, now, overlap=overlap)
        if window is None:
            continue
        assert window.start <= max(reached, day_window(day).start)
        assert window.end - window.start <= timedelta(days=1)
        assert day_of(window.start) == day_of(window.end - timedelta(seconds=1)) == day
        moved = moved_watermark(position, window, now)
        assert position <= moved
        assert moved <= max(position, now - SETTLE_LAG)
        position, reached = moved, window.end
    assert position >= min(now - SETTLE_LAG, max(watermark, now - SETTLE_LAG))
