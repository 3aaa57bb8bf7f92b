"""The circuit breaker: its rule as pure functions, and its state as several real processes see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from order_pipeline.traffic.breaker import FLUSH_CALLS, Admission, Breaker, Kind, shared_breaker
from order_pipeline.traffic.breaker_rule import (
    CLOSED,
    DEFAULT_BREAKER,
    BreakerSettings,
    Counts,
    State,
    after_counting,
    after_probe,
)
from order_pipeline.traffic.errors import BreakerOpenError
from order_pipeline.warehouse.database import connect
from order_pipeline_tests.traffic.processes import all_said

START = datetime(2026, 3, 15, 4, 0, 0, tzinfo=UTC)
OPEN = State(is_open=True, reason="tests want it open")


class Time:
    """A driven clock."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def breaker(engine: Engine, clock: Time) -> Breaker:
    return Breaker(engine, "app", clock=clock)


def call(breaker: Breaker, *, failed: bool = False, kind: Kind = Kind.POLL) -> Admission:
    admission = breaker.admit(kind, "a call")
    breaker.record(admission, failed=failed)
    return admission


def fail_until_open(breaker: Breaker) -> None:
    for _ in range(DEFAULT_BREAKER.fewest_calls):
        call(breaker, failed=True)
    assert breaker.state().is_open


# The rule

counted = st.builds(
    lambda calls, share: Counts(calls, min(calls, round(calls * share))), st.integers(0, 10_000), st.floats(0, 1)
)
some_settings = st.builds(
    BreakerSettings,
    failing_share=st.floats(0, 0.99),
    fewest_calls=st.integers(1, 100),
    probes_to_close=st.integers(1, 5),
)


@given(counted, some_settings)
def test_it_opens_exactly_when_more_than_the_share_of_enough_calls_failed(
    counts: Counts, chosen: BreakerSettings
) -> None:
    enough = counts.calls >= chosen.fewest_calls
    too_many = counts.calls > 0 and counts.failures > chosen.failing_share * counts.calls
    state = after_counting(CLOSED, counts, chosen)
    assert state.is_open == (enough and too_many)
    if state.is_open:
        assert f"{counts.failures} of {counts.calls} calls failed" in state.reason
    else:
        assert state == CLOSED


@given(counted, some_settings, st.integers(0, 4))
def test_counts_never_close_nor_change_an_open_breaker(counts: Counts, chosen: BreakerSettings, good: int) -> None:
    state = OPEN._replace(good_probes=good)
    assert after_counting(state, counts, chosen) == state


@given(st.lists(st.booleans(), max_size=40), some_settings)
def test_it_closes_exactly_after_enough_good_probes_in_a_row(probes: list[bool], chosen: BreakerSettings) -> None:
    state, in_a_row = OPEN, 0
    for went_through in probes:
        state = after_probe(state, went_through=went_through, settings=chosen)
        in_a_row = in_a_row + 1 if went_through else 0
        if in_a_row == chosen.probes_to_close:
            assert not state.is_open
            assert state.good_probes == 0
            return
        assert state.is_open
        assert state.good_probes == in_a_row


@given(st.booleans())
def test_a_probe_says_nothing_to_a_closed_breaker(went_through: bool) -> None:
    assert after_probe(CLOSED, went_through=went_through) == CLOSED


@pytest.mark.parametrize(
    "wrong", [{"window_seconds": 0}, {"failing_share": 1}, {"fewest_calls": 0}, {"probes_to_close": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"breaker times|at least 1"):
        BreakerSettings(**wrong)  # type: ignore[arg-type]


# One process


def test_nineteen_failures_leave_it_closed_and_the_twentieth_call_opens_it(breaker: Breaker) -> None:
    for _ in range(19):
        call(breaker, failed=True)
    assert not breaker.state().is_open
    call(breaker, failed=True)
    state = breaker.state()
    assert state.is_open
    assert state.reason == "20 of 20 calls failed in the last 5 minutes"
    assert state.since == START


def test_a_storm_that_fails_half_of_the_calls_opens_it_by_the_tenth_failure(breaker: Breaker) -> None:
    failures = 0
    while not breaker.state().is_open:
        call(breaker, failed=False)
        call(breaker, failed=True)
        failures += 1
    assert failures == 10


def test_one_in_twenty_is_still_well_and_a_little_more_is_not(breaker: Breaker) -> None:
    for number in range(1, 201):
        call(breaker, failed=number % 20 == 0)
    assert not breaker.state().is_open
    assert breaker.state().counts == Counts(200, 10)
    call(breaker, failed=True)
    assert breaker.state().is_open


def test_failures_older_than_five_minutes_are_forgotten(breaker: Breaker, clock: Time) -> None:
    for _ in range(19):
        call(breaker, failed=True)
    clock.advance(301)
    for number in range(40):
        call(breaker, failed=number % 20 == 19)
    state = breaker.state()
    assert not state.is_open
    assert state.counts == Counts(40, 2)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 5), st.integers(0, 5)), max_size=12))
def test_the_window_holds_the_calls_of_the_last_five_minutes_give_or_take_a_span(
    traffic_url: str, steps: list[tuple[int, int, int]]
) -> None:
    engine, clock = connect(traffic_url), Time()
    # Never opens, so that only the counting is seen.
    never = BreakerSettings(fewest_calls=10**6)
    breaker = Breaker(engine, f"app {time.monotonic_ns()}", never, clock=clock)
    made: list[tuple[datetime, int, int]] = []
    for wait, calls, failures in steps:
        clock.advance(wait)
        for number in range(calls + failures):
            breaker.record(Admission(Kind.POLL), failed=number >= calls)
        breaker.flush()
        made.append((clock.now, calls + failures, failures))
    counts = breaker.state().counts
    engine.dispose()
    for column, found in ((1, counts.calls), (2, counts.failures)):
        surely = sum(each[column] for each in made if (clock.now - each[0]).total_seconds() < 290)  # type: ignore[misc]
        perhaps = sum(each[column] for each in made if (clock.now - each[0]).total_seconds() <= 300)  # type: ignore[misc]
        assert surely <= found <= perhaps


def test_good_calls_are_written_twenty_at_a_time(breaker: Breaker) -> None:
    call(breaker)
    for _ in range(FLUSH_CALLS - 1):
        call(breaker)
    assert breaker.state().counts.calls in (1, FLUSH_CALLS)
    call(breaker)
    breaker.flush()
    assert breaker.state().counts == Counts(FLUSH_CALLS + 1, 0)


def test_an_open_breaker_refuses_polls_and_says_since_when_why_and_until_when(breaker: Breaker, clock: Time) -> None:
    fail_until_open(breaker)
    clock.advance(10)
    with pytest.raises(BreakerOpenError) as caught:
        breaker.admit(Kind.POLL, "taobao.trades.sold.increment.get of shop a")
    assert caught.value.retry_in_seconds == 20
    assert caught.value.retryable
    message = str(caught.value)
    assert "taobao.trades.sold.increment.get of shop a failed: the breaker of app app is open since" in message
    assert "20 of 20 calls failed in the last 5 minutes" in message
    assert "the next probe is due in 20 s, and once an hour each shop is pulled in full" in message


@pytest.mark.parametrize("kind", [Kind.FULL_PULL, Kind.DETAIL, Kind.MESSAGE])
def test_full_pulls_details_and_messages_go_on_and_change_nothing(breaker: Breaker, kind: Kind) -> None:
    fail_until_open(breaker)
    for failed in (True, False, False, False, False):
        assert call(breaker, failed=failed, kind=kind) == Admission(kind)
    state = breaker.state()
    assert (state.is_open, state.good_probes) == (True, 0)


def test_three_good_probes_half_a_minute_apart_close_it_and_the_outage_is_forgotten(
    breaker: Breaker, clock: Time
) -> None:
    fail_until_open(breaker)
    for _ in range(3):
        with pytest.raises(BreakerOpenError):
            breaker.admit(Kind.POLL, "a call")
        clock.advance(30)
        assert call(breaker).is_probe
    state = breaker.state()
    assert (state.is_open, state.counts, state.since) == (False, Counts(0, 0), START + timedelta(seconds=90))
    for _ in range(19):
        call(breaker, failed=True)
    assert not breaker.state().is_open


def test_a_bad_probe_begins_the_row_again(breaker: Breaker, clock: Time) -> None:
    fail_until_open(breaker)
    for failed in (False, False, True, False, False):
        clock.advance(30)
        call(breaker, failed=failed)
        assert breaker.state().is_open
    clock.advance(30)
    call(breaker)
    assert not breaker.state().is_open


def test_a_probe_spent_on_the_time_is_judged_by_the_poll_that_follows(breaker: Breaker, clock: Time) -> None:
    fail_until_open(breaker)
    clock.advance(30)
    assert call(breaker, kind=Kind.CLOCK).is_probe
    assert breaker.state().good_probes == 0
    assert call(breaker).is_probe
    assert breaker.state().good_probes == 1
    with pytest.raises(BreakerOpenError):
        breaker.admit(Kind.POLL, "a second page")
    clock.advance(30)
    call(breaker, kind=Kind.CLOCK, failed=True)
    assert breaker.state().good_probes == 0
    with pytest.raises(BreakerOpenError):
        breaker.admit(Kind.POLL, "a call")


def test_openings_and_closings_are_recorded_with_their_counts(breaker: Breaker, clock: Time) -> None:
    assert breaker.changes() == []
    fail_until_open(breaker)
    for _ in range(3):
        clock.advance(30)
        call(breaker)
    closing, opening = breaker.changes()
    assert (opening.state, opening.changed_at, opening.counts) == ("open", START, Counts(20, 20))
    assert opening.reason == "20 of 20 calls failed in the last 5 minutes"
    assert (closing.state, closing.changed_at) == ("closed", START + timedelta(seconds=90))
    assert closing.reason == "3 probes in a row went through"


def test_a_full_pull_is_due_once_an_hour_while_open_and_only_then(breaker: Breaker, clock: Time) -> None:
    assert not breaker.full_pull_due("shop")
    assert not breaker.full_pull_taken("shop")
    fail_until_open(breaker)
    assert breaker.full_pull_due("shop")
    assert breaker.full_pull_taken("shop")
    assert not breaker.full_pull_due("shop")
    clock.advance(3599)
    assert not breaker.full_pull_taken("shop")
    clock.advance(1)
    assert breaker.full_pull_due("shop")
    assert breaker.full_pull_taken("shop")


def test_each_shop_of_an_app_key_has_a_full_pull_of_its_own(breaker: Breaker, clock: Time) -> None:
    fail_until_open(breaker)
    assert breaker.full_pull_taken("shop")
    clock.advance(1800)
    assert breaker.full_pull_due("sister")
    assert breaker.full_pull_taken("sister")
    clock.advance(1800)
    assert (breaker.full_pull_taken("shop"), breaker.full_pull_taken("sister")) == (True, False)
    clock.advance(1800)
    assert (breaker.full_pull_taken("shop"), breaker.full_pull_taken("sister")) == (False, True)


def test_each_app_key_has_its_own(engine: Engine) -> None:
    assert shared_breaker(engine, "one") is shared_breaker(engine, "one")
    fail_until_open(shared_breaker(engine, "one"))
    assert not shared_breaker(engine, "two").state().is_open


# Many processes

FAIL_TOGETHER = """
breaker = Breaker(engine, "app")
for _ in range(5):
    breaker.record(breaker.admit(Kind.POLL, "a call"), failed=True)
over_at = time.monotonic() + 50
refused = False
while not refused and time.monotonic() < over_at:
    time.sleep(0.1)
    try:
        breaker.admit(Kind.POLL, "a call")
    except BreakerOpenError:
        refused = True
say(refused=refused)
"""

PROBE_TOGETHER = """
breaker = Breaker(engine, "app", BreakerSettings(probe_seconds=0.5, probes_to_close=4))
over_at = time.monotonic() + 60
while breaker.state().is_open and time.monotonic() < over_at:
    before = time.monotonic()
    try:
        admission = breaker.admit(Kind.POLL, "a call")
    except BreakerOpenError:
        time.sleep(0.01)
        continue
    if admission.is_probe:
        say(probe=[before, time.monotonic()])
        breaker.record(admission, failed=False)
"""


def test_failures_of_four_processes_add_up_and_all_four_obey(engine: Engine, warehouse_url: str) -> None:
    said = all_said(FAIL_TOGETHER, [(warehouse_url,)] * 4)
    assert [process[-1] for process in said] == [{"refused": True}] * 4
    state = Breaker(engine, "app").state()
    assert state.is_open
    assert state.since is not None
    assert [change.state for change in Breaker(engine, "app").changes()] == ["open"]


def test_four_processes_make_one_probe_at_a_time_and_close_it_together(engine: Engine, warehouse_url: str) -> None:
    fail_until_open(Breaker(engine, "app", BreakerSettings(probe_seconds=0.5)))
    said = all_said(PROBE_TOGETHER, [(warehouse_url,)] * 4)
    probes = [each["probe"] for process in said for each in process if "probe" in each]
    assert len(probes) == 4
    # Each was claimed between its two moments, however long either took.
    assert all(max(b[1] - a[0], a[1] - b[0]) >= 0.5 for a, b in combinations(probes, 2)), probes
    assert not Breaker(engine, "app").state().is_open
    assert [change.state for change in Breaker(engine, "app").changes()] == ["closed", "open"]


def test_of_four_processes_one_takes_the_full_pull(engine: Engine, warehouse_url: str) -> None:
    fail_until_open(Breaker(engine, "app"))
    script = 'say(taken=Breaker(engine, "app").full_pull_taken("shop"))'
    said = all_said(script, [(warehouse_url,)] * 4)
    assert sorted(process[0]["taken"] for process in said) == [False, False, False, True]


def test_counting_costs_a_round_trip_a_second_and_no_more(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from order_pipeline.traffic.side_connection import SideConnection

    trips: list[str] = []
    execute: Callable[..., object] = SideConnection.execute

    def counting(*arguments: object, attempted: str) -> object:
        trips.append(attempted)
        return execute(*arguments, attempted=attempted)

    breaker = Breaker(engine, "app")
    monkeypatch.setattr(SideConnection, "execute", counting)
    for _ in range(100):
        call(breaker)
    assert len(trips) <= 100 / FLUSH_CALLS + 2


# By hand


def test_a_breaker_opened_by_hand_refuses_polls_and_probes_until_its_time_is_over(
    breaker: Breaker, engine: Engine, clock: Time
) -> None:
    breaker.force_open("opened by me: the platform said so", seconds=7200)
    elsewhere = Breaker(engine, "app", clock=clock)
    for _ in range(3):
        with pytest.raises(BreakerOpenError, match="opened by me"):
            call(elsewhere)
        clock.advance(2000)
    call(elsewhere, kind=Kind.MESSAGE)
    clock.advance(1300)
    for _ in range(DEFAULT_BREAKER.probes_to_close):
        call(elsewhere)
        clock.advance(DEFAULT_BREAKER.probe_seconds)
    assert not breaker.state().is_open
    assert [change.state for change in breaker.changes()] == ["closed", "open"]


def test_a_breaker_closed_by_hand_lets_calls_through_and_opens_again_if_they_fail(
    breaker: Breaker, clock: Time
) -> None:
    fail_until_open(breaker)
    clock.advance(1)
    breaker.force_closed("closed by me: it is mended")
    assert call(breaker).is_probe is False
    assert breaker.state().counts.failures == 0
    clock.advance(1)
    for _ in range(DEFAULT_BREAKER.fewest_calls - 1):
        call(breaker, failed=True)
    assert breaker.state().is_open
