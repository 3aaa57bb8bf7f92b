"""The gate: what each outcome of a call means for the budget, the breaker and the retry."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from order_pipeline.platforms.protocol import Window
from order_pipeline.platforms.taobao.platform import TaobaoCredentials, TaobaoPlatform
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.access import open_shop
from order_pipeline.traffic.breaker import Breaker, Kind
from order_pipeline.traffic.breaker_rule import Counts
from order_pipeline.traffic.budget import Budget
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import (
    AuthorizationError,
    BreakerOpenError,
    CallerError,
    CallError,
    HeldBackError,
    MalformedAnswerError,
    NotFoundError,
    ThrottledError,
    TransientError,
)
from order_pipeline.traffic.gate import Gate, shared_gate
from order_pipeline.traffic.retry import RetrySettings
from order_pipeline.warehouse.database import connect
from order_pipeline_tests.conftest import QUICK_RETRY, Play

ONCE = RetrySettings(attempts=1)
# Far above what a busy machine takes for something that waits for nothing, far below the waits that it shall not be.
NOT_WAITED_SECONDS = 20.0


class Failing:
    """A call that fails with these errors, one after the other, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def transient() -> CallError:
    return TransientError("a call", "reset", remedy="wait")


def ban(seconds: float) -> CallError:
    return ThrottledError("a call", "banned", remedy="wait", ban_seconds=seconds)


def make(gate: Gate, call: Callable[[], str], retry: RetrySettings = QUICK_RETRY, kind: Kind = Kind.POLL) -> str:
    return gate.call(kind, call, retry, attempted="a call")


def away_breaker() -> Breaker:
    """A breaker whose database does not answer."""
    return Breaker(connect("postgresql+psycopg2://127.0.0.1:1/nowhere"), "app")


def opened(engine: Engine) -> Gate:
    """A gate whose breaker has just opened."""
    gate = Gate(None, Breaker(engine, "app"))
    for _ in range(20):
        with pytest.raises(TransientError):
            make(gate, Failing(transient()), ONCE)
    assert gate.breaker
    assert gate.breaker.state().is_open
    return gate


def test_a_gate_that_stands_open_only_repeats_what_failed() -> None:
    call = Failing(transient(), transient())
    assert make(Gate(), call) == "answer"
    assert call.calls == 3


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (transient(), Counts(1, 1)),
        (MalformedAnswerError("a call", "html", remedy="wait"), Counts(1, 1)),
        (AuthorizationError("a call", "session", remedy="act"), Counts(1, 0)),
        (CallerError("a call", "wrong", remedy="act"), Counts(1, 0)),
        (NotFoundError("a call", "unknown", remedy="none"), Counts(1, 0)),
        (ban(1), Counts(0, 0)),
        (KeyError("our own mistake"), Counts(0, 0)),
    ],
)
def test_only_what_the_platform_broke_counts_as_its_failure(engine: Engine, error: Exception, counts: Counts) -> None:
    gate = shared_gate(engine, "app", None)
    with pytest.raises(type(error)):
        make(gate, Failing(error), ONCE)
    assert gate.breaker
    gate.breaker.flush()
    assert gate.breaker.state().counts == counts


def test_throttling_never_opens_the_breaker(engine: Engine) -> None:
    gate = shared_gate(engine, "app", None)
    for _ in range(50):
        with pytest.raises(ThrottledError):
            make(gate, Failing(ban(0.001)), ONCE)
    assert gate.breaker
    gate.breaker.flush()
    assert not gate.breaker.state().is_open


def test_every_attempt_takes_a_departure_and_is_counted(engine: Engine) -> None:
    gate = shared_gate(engine, "app", 1200)
    began = time.monotonic()
    for _ in range(10):
        assert make(gate, Failing(transient())) == "answer"
    # Twenty attempts at 1,200 a minute, save for half a second of credit.
    assert time.monotonic() - began > 0.4
    assert gate.breaker
    gate.breaker.flush()
    assert gate.breaker.state().counts.failures >= 2


def test_calls_of_one_request_are_counted_one_by_one_and_a_request_that_fails_once(engine: Engine) -> None:
    gate = shared_gate(engine, "app", None)
    answers = ["good", transient(), CallerError("a call", "wrong", remedy="act"), ban(0.01), "good"]
    assert gate.call_together(Kind.DETAIL, lambda count: answers[:count], 5, attempted="calls") == answers

    def fails(_count: int) -> list[str | CallError]:
        raise transient()

    with pytest.raises(TransientError):
        gate.call_together(Kind.DETAIL, fails, 20, attempted="calls")
    assert gate.breaker
    gate.breaker.flush()
    # Four of the first request, as throttling is no failure, and one for all of the second.
    assert gate.breaker.state().counts == Counts(5, 2)


def test_a_ban_in_one_answer_of_many_holds_back_everybody(engine: Engine) -> None:
    gate = shared_gate(engine, "app", 600)
    gate.call_together(Kind.DETAIL, lambda _count: [ban(31_062)], 20, attempted="calls")
    with pytest.raises(HeldBackError, match="quota"):
        gate.call_together(Kind.DETAIL, lambda _count: ["never made"], 20, attempted="calls")


def test_a_ban_met_at_one_gate_holds_at_another_and_the_call_goes_through_afterwards(engine: Engine) -> None:
    gate, other = shared_gate(engine, "app", 600), Gate(Budget(engine, "app", 600))
    began = time.monotonic()
    with pytest.raises(ThrottledError):
        make(gate, Failing(ban(0.6)), ONCE)
    assert make(other, Failing()) == "answer"
    assert time.monotonic() - began > 0.5
    patient = RetrySettings(attempts=2, deadline_seconds=1)
    call = Failing(ban(1.3))
    # The ban is not held against the retry's deadline of a second.
    assert make(gate, call, patient) == "answer"
    assert call.calls == 2


def test_a_daily_quota_ends_the_calls_at_once_without_a_loop(engine: Engine) -> None:
    gate = shared_gate(engine, "app", 600)
    call = Failing(ban(31_062))
    began = time.monotonic()
    with pytest.raises(ThrottledError):
        make(gate, call)
    with pytest.raises(HeldBackError, match="quota"):
        make(gate, call)
    assert call.calls == 1
    assert time.monotonic() - began < NOT_WAITED_SECONDS


def test_waiting_for_the_budget_does_not_use_up_the_retry(engine: Engine) -> None:
    gate = shared_gate(engine, "app", 60)
    assert make(gate, Failing()) == "answer"
    # The two departures are half a second and a second and a half away, the retry's deadline is one second.
    call = Failing(transient())
    assert make(gate, call, RetrySettings(deadline_seconds=1, first_wait_seconds=0.01)) == "answer"
    assert call.calls == 2


def test_while_open_polls_are_refused_without_a_loop_and_details_are_made_once(engine: Engine) -> None:
    gate = opened(engine)
    poll, detail, pull = Failing(), Failing(transient()), Failing(transient())
    began = time.monotonic()
    with pytest.raises(BreakerOpenError):
        make(gate, poll, RetrySettings(deadline_seconds=600, first_wait_seconds=120, longest_wait_seconds=120))
    assert time.monotonic() - began < NOT_WAITED_SECONDS
    with pytest.raises(TransientError):
        make(gate, detail, kind=Kind.DETAIL)
    with gate.full_pull():
        assert make(gate, pull) == "answer"
    assert (poll.calls, detail.calls, pull.calls) == (0, 1, 2)
    with pytest.raises(BreakerOpenError):
        make(gate, poll)


def test_a_refused_poll_takes_no_departure(engine: Engine) -> None:
    gate = Gate(Budget(engine, "app", 1), opened(engine).breaker)
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(BreakerOpenError):
            make(gate, Failing())
    assert time.monotonic() - began < NOT_WAITED_SECONDS


def test_a_breaker_that_cannot_be_asked_holds_no_call_back(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(None, away_breaker())
    assert make(gate, Failing()) == "answer"
    assert "asking the breaker of app app failed" in caplog.text
    assert "what was known last holds" in caplog.text


def test_what_a_call_brought_is_worth_more_than_its_place_in_the_statistics(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(None, away_breaker())
    with pytest.raises(NotFoundError):
        make(gate, Failing(NotFoundError("a call", "unknown", remedy="none")))
    # A failure is written at once, and that fails.
    with pytest.raises(TransientError, match="reset"):
        make(gate, Failing(transient()), ONCE)
    assert "this call is not counted" in caplog.text


# Through the platform


def test_a_shop_opened_with_the_warehouse_shares_the_budget_of_its_app_key(play: Play, engine: Engine) -> None:
    shop = play.shop()
    assert open_shop(shop).gate.budget is None
    one, other = open_shop(shop, engine), open_shop(shop, engine)
    assert one.gate.budget is other.gate.budget is not None
    assert one.gate.breaker is other.gate.breaker is not None
    one.platform.now()
    assert one.calls.total == 1


def test_a_storm_opens_the_breaker_details_go_on_and_it_closes_by_itself(play: Play, engine: Engine) -> None:
    shop = play.shop()
    credentials = TaobaoCredentials(
        shop_id=shop.id,
        gateway_url=shop.gateway_url,
        app_key=shop.app_key,
        app_secret=shop.app_secret,
        session_key=shop.session_key,
    )
    breaker = Breaker(engine, shop.app_key, clock=lambda: play.now)
    gate = Gate(None, breaker)
    log = CallLog()
    platform = TaobaoPlatform(credentials, log, clock=lambda: play.now, retry=QUICK_RETRY, gate=gate)
    window = Window(play.now - timedelta(hours=12), play.now)
    order_id = next(iter(platform.created_orders(Window(play.now - timedelta(days=5), play.now)))).orders[0].order_id

    play.marketplace.faults.switch_on(Fault(name="http_error", rate=0.5, seed=3))
    for _ in range(40):
        try:
            list(platform.changed_orders(window))
        except BreakerOpenError:
            break
        except TransientError:
            continue
    assert breaker.state().is_open
    assert breaker.state().counts.failures <= 15

    play.marketplace.faults.switch_on(Fault(name="http_error", rate=1.0))
    made = log.total
    for _ in range(60):
        play.clock.advance(10)
        with pytest.raises((BreakerOpenError, TransientError)):
            platform.now()
    assert log.total - made <= 10 * 60 / 30
    with pytest.raises(TransientError):
        platform.order(order_id)

    play.marketplace.faults.clear()
    assert platform.order(order_id).order is not None
    with gate.full_pull():
        assert platform.now() == play.now
        assert list(platform.changed_orders(window))
    assert breaker.state().is_open
    for _ in range(3):
        play.clock.advance(30)
        platform.now()
        assert next(iter(platform.changed_orders(window)))
    assert not breaker.state().is_open
    assert list(platform.changed_orders(window))
    assert [change.state for change in breaker.changes()] == ["closed", "open"]
    platform.close()
