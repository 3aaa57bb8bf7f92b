"""Sums of calls: each call once, never shrinking, whoever loads, folds and prunes at the same time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from threading import Thread

from sqlalchemy import Engine, text

from order_pipeline.warehouse.call_counts import BOUNDS, FOLD_EVERY, counted_calls, fold
from order_pipeline.warehouse.calls import CallRow, store_calls
from order_pipeline.warehouse.database import transaction

LIST = "taobao.trades.sold.increment.get"


def _row(seconds: float, outcome: str = "ok", shop_id: str = "a") -> CallRow:
    return CallRow(shop_id, LIST, datetime.now(UTC), seconds, outcome, None, None)


def _store(engine: Engine, rows: Sequence[CallRow]) -> None:
    with transaction(engine) as connection:
        store_calls(connection, rows)


def _total(engine: Engine) -> int:
    with transaction(engine) as connection:
        return sum(count.calls for count in counted_calls(connection))


def test_calls_are_counted_by_outcome_and_duration_with_the_log(engine: Engine) -> None:
    _store(engine, [_row(0.05), _row(0.051), _row(99.0), _row(0.01, "TransientError")])
    _store(engine, [_row(0.09), _row(0.02, shop_id="b")])
    _store(engine, [])
    with transaction(engine) as connection:
        found = {(each.shop_id, each.outcome, each.up_to): each.calls for each in counted_calls(connection)}
        seconds = sum(each.seconds for each in counted_calls(connection))
    assert found == {
        ("a", "TransientError", 0.05): 1,
        ("a", "ok", 0.05): 1,
        ("a", "ok", 0.1): 2,
        ("a", "ok", math.inf): 1,
        ("b", "ok", 0.05): 1,
    }
    assert abs(seconds - (0.05 + 0.051 + 99 + 0.01 + 0.09 + 0.02)) < 1e-9


def test_what_is_rolled_back_was_never_counted(engine: Engine) -> None:
    with engine.connect() as connection:
        store_calls(connection, [_row(1.0)])
        connection.rollback()
    assert _total(engine) == 0


def test_the_sums_outlive_the_log(engine: Engine) -> None:
    _store(engine, [_row(1.0), _row(1.0)])
    with transaction(engine) as connection:
        connection.execute(text("DELETE FROM sync.call"))
    assert _total(engine) == 2


def test_an_upgrade_counts_what_was_logged_before_as_it_would_be_counted_today(engine: Engine) -> None:
    _store(engine, [_row(each * factor) for each in BOUNDS[:-1] for factor in (0.99, 1.0, 1.01)])
    step = import_module("order_pipeline.warehouse.migrations.versions.0013_call_counts")
    with transaction(engine) as connection:
        counted = [(each.up_to, each.calls) for each in counted_calls(connection)]
        connection.execute(text("TRUNCATE sync.call_count, sync.call_delta"))
        connection.execute(text(step.FROM_LOG))
        assert [(each.up_to, each.calls) for each in counted_calls(connection)] == counted


def test_loads_that_run_at_once_wait_for_nobody_even_when_one_of_them_folds(engine: Engine) -> None:
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
        store_calls(first, [_row(1.0)])
        fold(first)
        store_calls(second, [_row(1.0)])
        fold(second)
        second.commit()
        first.commit()
    assert _total(engine) == 2


def test_a_reader_sees_each_call_once_and_never_fewer_while_many_load_and_fold(engine: Engine) -> None:
    threads, loads = 3, FOLD_EVERY // 2
    seen: list[int] = []

    def load() -> None:
        for _ in range(loads):
            _store(engine, [_row(0.01)])

    loaders = [Thread(target=load) for _ in range(threads)]
    for loader in loaders:
        loader.start()
    while any(loader.is_alive() for loader in loaders):
        seen.append(_total(engine))
    for loader in loaders:
        loader.join()
    assert seen == sorted(seen)
    with transaction(engine) as connection:
        logged = connection.execute(text("SELECT count(*) FROM sync.call")).scalar()
        waiting = connection.execute(text("SELECT count(*) FROM sync.call_delta")).scalar_one()
    assert _total(engine) == logged == threads * loads
    # Folded on the way, without anybody asking for it.
    assert waiting < FOLD_EVERY
