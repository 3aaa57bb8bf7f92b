"""The outbox: said once an episode, delivered at least once, and in nobody's way whatever the services do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from order_pipeline.notifications.addresses import open_notifiers
from order_pipeline.notifications.notifier import Notifier
from order_pipeline.sync.notices import deliver, look_at_outbox, retry_in
from order_pipeline.sync.traffic_notices import raise_traffic_notices
from order_pipeline.traffic.breaker import Admission, Breaker, Kind
from order_pipeline.traffic.breaker_rule import BreakerSettings
from order_pipeline.traffic.gate import Gate, shared_gate
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.embedded import EmbeddedServer
from order_pipeline.warehouse.migrate import upgrade
from order_pipeline.warehouse.notice_sinks import BURST, claim_sink, take_turn
from order_pipeline.warehouse.notices import (
    HeldNotice,
    Notice,
    Severity,
    latest_notices,
    open_subjects,
    raise_notice,
    resolve_notice,
)
from order_pipeline.warehouse.pauses import begin_pause, end_pause
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.notifications.service import TAKEN, Service, running_service

AT = datetime(2026, 3, 15, 4, 0, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TABLES = (
    "sync.notice, sync.notice_sink, sync.shop_pause, sync.rate_budget, sync.breaker, sync.breaker_count, "
    "sync.breaker_change, sync.full_pull"
)


@pytest.fixture(scope="module")
def notices_url(postgres: EmbeddedServer) -> str:
    """One database for the module, emptied before each test: a fresh one costs more than most of them."""
    postgres.create_database("notices")
    engine = connect(postgres.url("notices"))
    upgrade(engine)
    engine.dispose()
    return postgres.url("notices")


@pytest.fixture
def warehouse_url(notices_url: str) -> str:
    engine = connect(notices_url)
    change(engine, f"TRUNCATE {TABLES}")
    engine.dispose()
    return notices_url


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as service:
        yield service


@pytest.fixture
def robots(service: Service) -> list[Notifier]:
    return open_notifiers([f"dingtalk://TOKEN?server={service.url}"])


def notice(subject: str = "a", severity: Severity = Severity.WARNING, kind: str = "kind", **changes: Any) -> Notice:
    return Notice(kind, subject, severity, f"{kind} of {subject}", "What happened.", **changes)


def say(engine: Engine, *notices: Notice, at: datetime | None = None) -> list[bool]:
    with transaction(engine) as connection:
        return [raise_notice(connection, each, at=at) for each in notices]


def end(engine: Engine, subject: str = "a", at: datetime | None = None) -> bool:
    with transaction(engine) as connection:
        return resolve_notice(connection, "kind", subject, title=f"{subject} is over", at=at)


def held(engine: Engine) -> list[HeldNotice]:
    """Oldest first."""
    with transaction(engine) as connection:
        return sorted(latest_notices(connection, 1_000), key=lambda each: each.notice_id)


def change(engine: Engine, statement: str) -> None:
    with transaction(engine) as connection:
        connection.execute(text(statement))


def try_again_now(engine: Engine) -> None:
    change(engine, "UPDATE sync.notice_sink SET next_attempt_at = '-infinity', free_at = '-infinity'")


# Raising


def test_the_same_within_its_quiet_period_only_counts_and_afterwards_is_said_anew(engine: Engine) -> None:
    assert [say(engine, notice(), at=AT + number * MINUTE) for number in (0, 1, 59, 60, 61)] == [
        [True], [False], [False], [True], [False]
    ]  # fmt: skip
    assert [(each.times_raised, each.raised_at) for each in held(engine)] == [(3, AT), (2, AT + 60 * MINUTE)]


def test_a_lasting_state_is_one_notice_until_it_ends_and_a_new_one_when_it_begins_again(engine: Engine) -> None:
    lasting = notice(quiet=None)
    assert say(engine, lasting, at=AT) == [True]
    assert say(engine, lasting, at=AT + timedelta(days=30)) == [False]
    assert end(engine, at=AT + timedelta(days=31))
    assert not end(engine, at=AT + timedelta(days=32))
    assert say(engine, lasting, at=AT + timedelta(days=33)) == [True]
    assert [each.title for each in held(engine)] == ["kind of a", "a is over", "kind of a"]


def test_facts_told_again_or_too_late_change_nothing(engine: Engine) -> None:
    """A sensor that lost its cursor reads the same events once more."""
    story = [("red", 0), ("red", 1), ("green", 2), ("red", 3), ("green", 4)]

    def tell() -> None:
        for what, minute in story:
            if what == "red":
                say(engine, notice(quiet=None), at=AT + minute * MINUTE)
            else:
                end(engine, at=AT + minute * MINUTE)

    tell()
    told = held(engine)
    tell()
    assert held(engine) == told
    assert [each.times_raised for each in told] == [2, 1, 1, 1]


def test_what_became_graver_is_said_anew(engine: Engine, robots: list[Notifier], service: Service) -> None:
    say(engine, notice(quiet=None))
    deliver(engine, robots)
    say(engine, notice(severity=Severity.ERROR, quiet=None))
    say(engine, notice(severity=Severity.WARNING, quiet=None))
    deliver(engine, robots)
    assert [got.content.splitlines()[0] for got in service.got] == [
        "[order_pipeline] warning: kind of a",
        "[order_pipeline] error: kind of a",
    ]


def test_what_is_rolled_back_was_never_said(engine: Engine) -> None:
    def fail() -> None:
        with transaction(engine) as connection:
            raise_notice(connection, notice())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert held(engine) == []


def test_the_same_raised_by_many_at_once_is_one_notice(engine: Engine) -> None:
    threads = [threading.Thread(target=lambda: [say(engine, notice()) for _ in range(10)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (only,) = held(engine)
    assert 1 <= only.times_raised <= 60


# Delivering


def test_notices_of_a_kind_are_one_message_and_each_is_delivered_once(
    engine: Engine, robots: list[Notifier], service: Service
) -> None:
    say(engine, *(notice(f"parcel {number}", kind="stalled") for number in range(25)), notice("b"))
    (done,) = deliver(engine, robots)
    assert (done.notices, done.messages, done.stopped) == (26, 2, "")
    assert "and 24 more" in service.got[0].content
    deliver(engine, robots)
    assert len(service.got) == 2
    assert all(each.delivered_at and each.delivered_to == [robots[0].name] for each in held(engine))


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (200, {"errcode": 310000, "errmsg": "keywords not in content"}, "code 310000"),
        (200, {"errcode": 45009, "errmsg": "api freq out of limit"}, "code 45009"),
        (200, {"code": 19021, "msg": "sign match fail"}, "code 19021"),
        (500, "oops", "HTTP 500"),
    ],
)
def test_what_is_refused_waits_is_tried_later_and_arrives_in_the_end(
    engine: Engine, robots: list[Notifier], service: Service, status: int, answer: object, said: str
) -> None:
    say(engine, notice())
    service.says(status, answer)
    (done,) = deliver(engine, robots)
    assert (done.notices, done.messages) == (0, 0)
    assert said in done.stopped
    # Not at once again: a sink that is away is not hammered.
    (again,) = deliver(engine, robots)
    assert "after 1 failure in a row" in again.stopped
    assert len(service.got) == 1
    outbox = look_at_outbox(engine, robots)
    assert said in outbox.words
    assert not outbox.is_late(datetime.now(UTC))
    assert outbox.is_late(datetime.now(UTC) + timedelta(minutes=16))
    service.says(200, TAKEN)
    try_again_now(engine)
    assert deliver(engine, robots)[0].notices == 1
    assert look_at_outbox(engine, robots).waiting.notices == 0
    assert held(engine)[0].attempts == 2


def test_a_service_that_hangs_costs_its_time_limit_once_and_the_other_sink_gets_everything(
    engine: Engine, service: Service
) -> None:
    with running_service() as well:
        both = open_notifiers([f"dingtalk://HANGS?server={service.url}", f"wecom://KEY?server={well.url}"])
        service.hang_seconds = 60
        say(engine, notice())
        began = time.monotonic()
        first, second = deliver(engine, both, send_seconds=1)
        assert time.monotonic() - began < 20
        assert "no answer within" in first.stopped
        assert (second.notices, len(well.got)) == (1, 1)
        (waiting,) = held(engine)
        assert waiting.delivered_at is None
        assert waiting.delivered_to == [both[1].name]
        # Raising is a row in the caller's transaction, however the services are.
        assert say(engine, notice("b")) == [True]
        # A sink that is taken out of the configuration is not waited for.
        deliver(engine, both[1:])
        assert all(each.delivered_at for each in held(engine))
        assert len(well.got) == 2


def test_a_message_that_is_always_refused_does_not_hold_up_the_others_of_its_kind(
    engine: Engine, robots: list[Notifier], service: Service
) -> None:
    say(engine, notice("poison"))
    service.says(200, {"errcode": 430101, "errmsg": "unsafe content"})
    for _ in range(3):
        try_again_now(engine)
        deliver(engine, robots)
    say(engine, notice("b"))
    service.says(200, TAKEN)
    try_again_now(engine)
    deliver(engine, robots)
    assert [got.content.splitlines()[0].rpartition(" ")[2] for got in service.got[-2:]] == ["b", "poison"]


def test_all_processes_together_keep_to_twenty_messages_a_minute(
    engine: Engine, warehouse_url: str, robots: list[Notifier]
) -> None:
    """The timetable is laid out for ten minutes, by asking the database what it grants as its clock goes on."""
    other = connect(warehouse_url)
    with transaction(engine) as connection:
        assert claim_sink(connection, robots[0].name)
    granted: list[int] = []
    for second in range(180):
        for each in (engine, other):
            with transaction(each) as connection:
                while take_turn(connection, robots[0].name, 1):
                    granted.append(second)
        # The clock of the server cannot be driven; the timetable moved back by a second is the same.
        change(engine, "UPDATE sync.notice_sink SET free_at = free_at - interval '1 second'")
    other.dispose()
    most = max(sum(1 for at in granted if start <= at < start + 60) for start in range(120))
    assert BURST < most <= 20
    assert len(granted) >= 3 * 60 / 4.2


def test_the_outbox_keeps_half_a_year_and_whatever_is_still_open(engine: Engine, robots: list[Notifier]) -> None:
    say(engine, notice("over"), notice("open"))
    end(engine, "over")
    deliver(engine, robots)
    for months, left in ((5, 4), (2, 3)):
        age = f"interval '{months} months'"
        change(
            engine,
            f"UPDATE sync.notice SET delivered_at = delivered_at - {age}, last_raised_at = last_raised_at - {age}",
        )
        say(engine, notice(f"new {months}"))
        deliver(engine, robots)
        assert len(held(engine)) == left
    assert [each.subject for each in held(engine)] == ["open", "new 5", "new 2"]


def test_a_longer_queue_than_the_limit_allows_goes_on_with_the_next_go(
    engine: Engine, robots: list[Notifier], service: Service
) -> None:
    say(engine, *(notice(kind=f"kind {number}") for number in range(BURST + 2)))
    (done,) = deliver(engine, robots)
    assert done.notices == BURST
    assert "1 wait for their turn" in done.stopped
    try_again_now(engine)
    assert deliver(engine, robots)[0].notices == 2
    assert len(service.got) == BURST + 2


def test_one_process_delivers_at_a_time_and_a_dead_ones_claim_ends(
    engine: Engine, robots: list[Notifier], service: Service
) -> None:
    say(engine, *(notice(kind=f"kind {number}") for number in range(4)))
    threads = [threading.Thread(target=deliver, args=(engine, robots)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deliver(engine, robots)
    assert len(service.got) == 4
    say(engine, notice("late"))
    with transaction(engine) as connection:
        assert claim_sink(connection, robots[0].name)
    # Its process dies here.
    assert "another process delivers" in deliver(engine, robots)[0].stopped
    change(engine, "UPDATE sync.notice_sink SET leased_until = clock_timestamp()")
    assert deliver(engine, robots)[0].notices == 1


def test_a_sink_is_left_alone_twice_as_long_each_time_up_to_an_hour() -> None:
    assert [retry_in(failures) for failures in (1, 2, 3, 8, 1_000)] == [30, 60, 120, 3_600, 3_600]
    assert retry_in(1, 600) == 600


# Who raises


def test_a_pause_and_its_end_are_told_once_each(engine: Engine) -> None:
    with transaction(engine) as connection:
        for _ in range(2):
            begin_pause(connection, "shop", "print", "invalid-sessionkey", "a test")
        for _ in range(2):
            end_pause(connection, "shop", "authorised again", "a test")
    began, ended = held(engine)
    assert began.severity == "error"
    assert "order-pipeline authorize shop" in began.body
    assert ended.title == "shop shop goes on"
    assert "authorised again" in ended.body


def test_a_breaker_is_told_when_it_opens_and_when_it_closes_however_often_one_looks(engine: Engine, play: Play) -> None:
    access = play.access(100, timedelta(0), Gate(None, Breaker(engine, play.shop().app_key, BreakerSettings())))
    breaker = access.gate.breaker
    assert breaker is not None
    assert raise_traffic_notices([access], engine) == ""
    for _ in range(25):
        breaker.record(Admission(Kind.POLL), failed=True)
    assert raise_traffic_notices([access], engine) == "1 change of breakers and bans"
    assert raise_traffic_notices([access], engine) == ""
    for _ in range(breaker.settings.probes_to_close):
        breaker.record(Admission(Kind.POLL, is_probe=True), failed=False)
    assert not breaker.state().is_open
    assert raise_traffic_notices([access], engine) == "1 change of breakers and bans"
    assert raise_traffic_notices([access], engine) == ""
    opened, closed = held(engine)
    assert "is open: too many calls fail" in opened.title
    assert "of 2" in opened.body
    assert "is closed again" in closed.title


def test_a_ban_of_hours_is_told_with_its_end_and_one_of_seconds_is_not(engine: Engine, play: Play) -> None:
    app_key = play.shop().app_key
    access = play.access(100, timedelta(0), shared_gate(engine, app_key, 600))
    assert access.gate.budget is not None
    access.gate.budget.ban(100)
    assert raise_traffic_notices([access], engine) == ""
    access.gate.budget.ban(36_000)
    assert raise_traffic_notices([access], engine)
    assert raise_traffic_notices([access], engine) == ""
    (banned,) = held(engine)
    assert "Asia/Shanghai" in banned.title
    change(engine, "UPDATE sync.rate_budget SET banned_until = '-infinity'")
    assert raise_traffic_notices([access], engine)
    assert held(engine)[-1].title == f"the platform's ban of app {app_key} is over"
    with transaction(engine) as connection:
        assert open_subjects(connection, "quota_ban") == set()
