"""The book of calls."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from order_pipeline.traffic.call_log import Call, CallLog


def call(number: int = 0, method: str = "taobao.time.get", outcome: str = "ok") -> Call:
    return Call(
        shop_id="a",
        method=method,
        started_at=datetime(2026, 3, 1, tzinfo=UTC),
        seconds=0.1,
        outcome=outcome,
        request_id=str(number),
    )


def test_calls_are_handed_over_once_in_order_and_totals_stay() -> None:
    log = CallLog()
    for number in range(3):
        log.write(call(number))
    assert [one.request_id for one in log.drain()] == ["0", "1", "2"]
    assert log.drain() == []
    assert log.total == 3


def test_totals_tell_the_methods_and_the_failures_apart() -> None:
    log = CallLog()
    log.write(call())
    log.write(call(outcome="TransientError"))
    log.write(call(method="taobao.trade.fullinfo.get"))
    assert (log.total, log.failed) == (3, 1)
    assert log.total_by_method == {"taobao.time.get": 2, "taobao.trade.fullinfo.get": 1}
    assert log.failed_by_method == {"taobao.time.get": 1}


def test_a_log_that_nobody_drains_stays_bounded_and_says_what_it_forgot() -> None:
    log = CallLog(capacity=10)
    for number in range(25):
        log.write(call(number))
    assert log.forgotten == 15
    assert log.total == 25
    assert [one.request_id for one in log.drain()] == [str(number) for number in range(15, 25)]


def test_threads_lose_no_call() -> None:
    log = CallLog()
    drained: list[Call] = []

    def write() -> None:
        for number in range(2_000):
            log.write(call(number))
            if number % 100 == 0:
                drained.extend(log.drain())

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drained.extend(log.drain())
    assert len(drained) == log.total == 8_000
