"""The rules about parcels, on parcels made by hand: every edge between a stall and an alert."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.insights.alert_episodes import NOTHING_TO_DO, OpenAlert, Step, next_step
from order_pipeline.insights.stalls import (
    PRECEDENCE,
    Contents,
    Finding,
    Judgement,
    Parcel,
    Quiet,
    Rule,
    StallSettings,
    hours_waited,
    judge_all,
)
from order_pipeline.insights.traces import UNKNOWN, Meaning, Standing, TraceEvent, standing_of
from order_pipeline.insights.working_time import (
    NATIONAL_DAY,
    SHANGHAI,
    SPRING_FESTIVAL,
    Calendar,
    calendar_of,
    carriers_calendar,
    days_off,
)

NOW = datetime(2026, 3, 15, 12, 0, 0, tzinfo=SHANGHAI)
SECOND = timedelta(seconds=1)


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def parcel(state: Meaning | None = Meaning.IN_TRANSIT, waited: timedelta | None = None, **fields: object) -> Parcel:
    known: dict[str, object] = {
        "shipped_at": NOW - timedelta(days=10),
        "state": state,
        "last_event_at": None if waited is None else NOW - waited,
        "known_at": NOW,
        "region": "浙江省",
    }
    return Parcel(**(known | fields))  # type: ignore[arg-type]


def judged(held: Parcel, calendar: Calendar | None = None, **settings: object) -> Judgement:
    (judgement,) = judge_all([held], StallSettings(**settings), calendar or Calendar())  # type: ignore[arg-type]
    return judgement


def rules(held: Parcel, calendar: Calendar | None = None, **settings: object) -> tuple[Rule, ...]:
    judgement = judged(held, calendar, **settings)
    return (judgement.rule, *judgement.also) if isinstance(judgement, Finding) else ()


@pytest.mark.parametrize(
    ("state", "limit", "rule"),
    [
        (Meaning.IN_TRANSIT, 72, Rule.STALL),
        (Meaning.OUT_FOR_DELIVERY, 48, Rule.DELIVERY_STUCK),
        (Meaning.PICKUP_POINT, 72, Rule.PICKUP_POINT),
        (Meaning.RETURNING, 72, Rule.RETURN_STALL),
        (Meaning.INTERCEPTED, 72, Rule.RETURN_STALL),
    ],
)
def test_a_rule_fires_at_exactly_its_hours_and_not_a_second_before(state: Meaning, limit: int, rule: Rule) -> None:
    assert rules(parcel(state, hours(limit) - SECOND)) == ()
    assert rules(parcel(state, hours(limit))) == (rule,)
    found = judged(parcel(state, hours(limit + 5)))
    assert isinstance(found, Finding)
    assert found.crossed_at == found.since + hours(limit)


def test_a_parcel_that_nobody_picked_up_is_told_from_shipping_on() -> None:
    assert rules(parcel(None, shipped_at=NOW - hours(24) + SECOND)) == ()
    assert rules(parcel(None, shipped_at=NOW - hours(24))) == (Rule.NO_PICKUP,)
    # What was promised earlier counts, what was promised later does not.
    early = parcel(None, shipped_at=NOW - hours(9), pickup_promised_at=NOW - hours(1))
    assert rules(early) == (Rule.NO_PICKUP,)
    late = parcel(None, shipped_at=NOW - hours(24), pickup_promised_at=NOW + hours(9))
    assert rules(late) == (Rule.NO_PICKUP,)


@pytest.mark.parametrize("state", [Meaning.FAILED, Meaning.REFUSED, Meaning.LOST])
def test_what_the_carrier_says_is_wrong_is_told_at_once(state: Meaning) -> None:
    assert rules(parcel(state, SECOND)) == (Rule.EXCEPTION,)


def test_a_standstill_keeps_its_beginning_whatever_it_is_called_by() -> None:
    failed = judged(parcel(Meaning.FAILED, hours(72)))
    assert isinstance(failed, Finding)
    assert (failed.rule, failed.also) == (Rule.STALL, (Rule.EXCEPTION,))
    out = judged(parcel(Meaning.OUT_FOR_DELIVERY, hours(72)))
    assert isinstance(out, Finding)
    assert (out.rule, out.also) == (Rule.STALL, (Rule.DELIVERY_STUCK,))
    # What was lost is not stuck.
    assert rules(parcel(Meaning.LOST, hours(200))) == (Rule.EXCEPTION,)
    assert set(PRECEDENCE) == set(Rule)


def test_a_broken_promise_is_told_at_once_and_beside_what_is_worse() -> None:
    assert rules(parcel(waited=hours(1), delivery_promised_at=NOW)) == ()
    assert rules(parcel(waited=hours(1), delivery_promised_at=NOW - SECOND)) == (Rule.LATE,)
    assert rules(parcel(waited=hours(73), delivery_promised_at=NOW - SECOND)) == (Rule.STALL, Rule.LATE)
    # It is there: that nobody collects it is not the carrier's delay.
    assert rules(parcel(Meaning.PICKUP_POINT, hours(1), delivery_promised_at=NOW - SECOND)) == ()


@pytest.mark.parametrize(
    "unknown",
    [
        parcel(None, known_at=None),
        parcel(None, is_untracked=True),
        parcel(None, known_at=None, delivery_promised_at=NOW - hours(9)),
        parcel(Meaning.IN_TRANSIT, hours(500), known_at=None),
    ],
)
def test_what_is_not_known_is_unknown_and_never_nought_hours(unknown: Parcel) -> None:
    assert judged(unknown) is Quiet.UNKNOWN


def test_time_counts_up_to_the_last_answer_only() -> None:
    silent = parcel(waited=hours(500), known_at=NOW - hours(500) + hours(71))
    assert judged(silent) is Quiet.MOVING
    assert rules(parcel(None, shipped_at=NOW - hours(500), known_at=NOW - hours(490))) == ()


def test_an_event_from_the_future_has_been_waited_for_for_nought_hours() -> None:
    assert judged(parcel(waited=-hours(5))) is Quiet.MOVING
    ahead = Finding(Rule.STALL, NOW + hours(5), NOW)
    assert hours_waited(ahead, NOW) == 0
    assert hours_waited(Finding(Rule.STALL, NOW - hours(72) - 59 * timedelta(minutes=1), NOW), NOW) == 72


@pytest.mark.parametrize("state", [Meaning.SIGNED, Meaning.RETURNED])
def test_what_arrived_is_never_stuck(state: Meaning) -> None:
    assert rules(parcel(state, hours(900), delivery_promised_at=NOW - hours(900))) == ()


@pytest.mark.parametrize("contents", [Contents.CLOSED, Contents.FINISHED, Contents.REPLACED])
@pytest.mark.parametrize("state", [None, Meaning.IN_TRANSIT, Meaning.FAILED, Meaning.LOST, Meaning.PICKUP_POINT])
def test_what_is_settled_is_nobodys_worry(contents: Contents, state: Meaning | None) -> None:
    assert rules(parcel(state, hours(900) if state else None, contents=contents)) == ()


def test_refunded_goods_on_their_way_back_are_still_the_sellers() -> None:
    back = parcel(Meaning.RETURNING, hours(72), contents=Contents.CLOSED)
    assert rules(back) == (Rule.RETURN_STALL,)
    assert rules(parcel(Meaning.RETURNING, hours(72), contents=Contents.REPLACED)) == ()


def test_a_buyers_return_has_the_same_clock_and_more_patience_while_nobody_has_seen_it() -> None:
    def back(state: Meaning | None, waited: timedelta, **fields: Any) -> Parcel:
        moved: dict[str, Any] = {"last_event_at": NOW - waited} if state else {"shipped_at": NOW - waited}
        return parcel(state, is_return=True, **(moved | fields))

    assert rules(back(Meaning.IN_TRANSIT, hours(72) - SECOND)) == ()
    assert rules(back(Meaning.IN_TRANSIT, hours(72))) == (Rule.RETURN_STALL,)
    assert rules(back(None, hours(239))) == ()
    assert rules(back(None, hours(240))) == (Rule.RETURN_STALL,)
    assert rules(back(None, hours(900), contents=Contents.FINISHED)) == ()


def test_remote_regions_get_two_days_more() -> None:
    for region in ("新疆维吾尔自治区", "西藏自治区"):
        assert rules(parcel(waited=hours(119), region=region)) == ()
        assert rules(parcel(waited=hours(120), region=region)) == (Rule.STALL,)
    assert rules(parcel(waited=hours(72), region=None)) == (Rule.STALL,)
    # Nobody travels anywhere before it is picked up.
    assert rules(parcel(None, shipped_at=NOW - hours(24), region="西藏自治区")) == (Rule.NO_PICKUP,)


def test_days_on_which_carriers_stand_still_do_not_count() -> None:
    festival = carriers_calendar(2026, (SPRING_FESTIVAL, NATIONAL_DAY))
    # 15 to 23 February; the Saturday before is a working day.
    assert not festival.waited(datetime(2026, 2, 15, tzinfo=SHANGHAI), datetime(2026, 2, 24, tzinfo=SHANGHAI))
    since = datetime(2026, 2, 14, 12, tzinfo=SHANGHAI)
    crossed_at = datetime(2026, 2, 26, 12, tzinfo=SHANGHAI)
    assert festival.after(since, hours(72)) == crossed_at
    held = parcel(last_event_at=since, known_at=crossed_at - SECOND)
    assert rules(held, festival) == ()
    found = judged(parcel(last_event_at=since, known_at=crossed_at), festival)
    assert isinstance(found, Finding)
    assert found.crossed_at == crossed_at
    assert date(2026, 10, 4) in days_off([2026], [NATIONAL_DAY])
    # A weekend counts, and so does a year that nobody has announced yet.
    assert festival.waited(datetime(2026, 3, 13, tzinfo=SHANGHAI), datetime(2026, 3, 16, tzinfo=SHANGHAI)) == hours(72)
    assert date(2031, 1, 23) in days_off([2031], [SPRING_FESTIVAL])


@given(
    days=st.lists(st.integers(0, 40), max_size=12),
    begin=st.integers(0, 40 * 24 * 60),
    waited=st.integers(0, 20 * 24 * 60),
)
def test_a_moment_is_reached_exactly_when_so_much_was_waited(days: list[int], begin: int, waited: int) -> None:
    calendar = calendar_of([date(2026, 1, 1) + timedelta(days=day) for day in days])
    since = datetime(2026, 1, 1, tzinfo=SHANGHAI) + timedelta(minutes=begin)
    span = timedelta(minutes=waited)
    reached = calendar.after(since, span)
    assert calendar.waited(since, reached) == span
    if waited:
        assert calendar.waited(since, reached - SECOND) < span


def test_rules_can_be_left_out_and_hours_be_others() -> None:
    assert rules(parcel(waited=hours(40)), stall_hours=40.0) == (Rule.STALL,)
    assert rules(parcel(Meaning.PICKUP_POINT, hours(100)), rules=(Rule.STALL,)) == ()
    with pytest.raises(ValueError, match="0 or more"):
        StallSettings(stall_hours=-1)


EVENTS = [
    TraceEvent(NOW + hours(number), meaning)
    for number, meaning in enumerate(
        [Meaning.ANNOUNCED, Meaning.IN_TRANSIT, Meaning.IN_TRANSIT, Meaning.OUT_FOR_DELIVERY, Meaning.SIGNED]
    )
]


@given(st.permutations([*EVENTS, *EVENTS[1:3]]))
def test_order_and_repetition_of_events_do_not_matter(events: list[TraceEvent]) -> None:
    assert standing_of(events) == Standing(Meaning.SIGNED, NOW + hours(4))


def test_only_the_latest_event_that_means_something_counts() -> None:
    def standing(*meanings: Meaning) -> Standing:
        return standing_of(TraceEvent(NOW + hours(number), meaning) for number, meaning in enumerate(meanings))

    assert standing() == standing(Meaning.ANNOUNCED) == UNKNOWN
    assert standing(Meaning.IN_TRANSIT, Meaning.ANNOUNCED) == Standing(Meaning.IN_TRANSIT, NOW)
    # Signed for too early: it moves on, and is not there.
    assert standing(Meaning.SIGNED, Meaning.IN_TRANSIT).state is Meaning.IN_TRANSIT
    # On its way back every scan is one of the way back, and the sender signs at the end.
    assert standing(Meaning.RETURNING, Meaning.IN_TRANSIT).state is Meaning.RETURNING
    assert standing(Meaning.RETURNING, Meaning.OUT_FOR_DELIVERY, Meaning.SIGNED).state is Meaning.RETURNED
    # A buyer who refused may take it the next day.
    assert standing(Meaning.REFUSED, Meaning.OUT_FOR_DELIVERY, Meaning.SIGNED).state is Meaning.SIGNED
    assert standing(Meaning.PICKUP_POINT).state is Meaning.PICKUP_POINT
    # In the same second the one that goes further.
    same = [TraceEvent(NOW, Meaning.SIGNED), TraceEvent(NOW, Meaning.OUT_FOR_DELIVERY)]
    assert standing_of(same).state is Meaning.SIGNED


HELD = OpenAlert(Rule.STALL, (), NOW)


@pytest.mark.parametrize(
    ("held", "judgement", "step"),
    [
        (None, Quiet.MOVING, NOTHING_TO_DO),
        (None, Quiet.UNKNOWN, NOTHING_TO_DO),
        (HELD, Quiet.UNKNOWN, NOTHING_TO_DO),
        (HELD, Finding(Rule.STALL, NOW, NOW), NOTHING_TO_DO),
        (HELD, Quiet.SIGNED, Step(close="it was delivered")),
        (HELD, Quiet.CLOSED, Step(close="it is refunded or closed")),
        (None, Finding(Rule.STALL, NOW, NOW), Step(open=Finding(Rule.STALL, NOW, NOW))),
        (
            HELD,
            Finding(Rule.STALL, NOW, NOW, (Rule.LATE,)),
            Step(change=Finding(Rule.STALL, NOW, NOW, (Rule.LATE,))),
        ),
        (
            HELD,
            Finding(Rule.STALL, NOW + SECOND, NOW),
            Step(close="it moves", open=Finding(Rule.STALL, NOW + SECOND, NOW)),
        ),
    ],
)
def test_a_parcel_has_one_alert_an_episode(held: OpenAlert | None, judgement: Judgement, step: Step) -> None:
    assert next_step(held, judgement) == step


@given(st.lists(st.integers(1, 100), min_size=1, max_size=12), st.integers(1, 9))
def test_a_stall_is_told_once_however_often_it_is_looked_at(gaps: list[int], looks: int) -> None:
    """Events with gaps of so many hours, looked at every so many: an alert for each gap of three days, no other."""
    events = [NOW]
    for gap in gaps:
        events.append(events[-1] + hours(gap))
    held: OpenAlert | None = None
    opened: list[datetime] = []
    at = NOW
    while at <= events[-1]:
        last = max(event for event in events if event <= at)
        step = next_step(held, judged(parcel(last_event_at=last, known_at=at)))
        assert step.close is None or held
        if step.close:
            held = None
        if step.open:
            assert at - step.open.crossed_at < hours(looks)
            opened.append(step.open.since)
            held = OpenAlert(step.open.rule, step.open.also, step.open.since)
        at += hours(looks)
    # One that crosses between two looks and moves on again before the second was never seen.
    surely = [begin for begin, gap in zip(events, gaps, strict=False) if gap >= 72 + looks]
    perhaps = [begin for begin, gap in zip(events, gaps, strict=False) if gap >= 72]
    assert set(surely) <= set(opened) <= set(perhaps)
    assert len(opened) == len(set(opened))
