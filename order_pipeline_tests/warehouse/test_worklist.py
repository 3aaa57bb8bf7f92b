"""The worklist: nothing said is forgotten, nothing is done twice at once, a crash leaves the work."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, text

from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.merging import Source
from order_pipeline.warehouse.orders import merge_orders
from order_pipeline.warehouse.worklist import (
    EPOCH,
    Announced,
    KnownDetail,
    Outcome,
    Pending,
    Said,
    depth,
    known_details,
    say_announced,
    say_anyway,
    say_changed,
    settle,
    take,
    unknown_changes,
    worker,
)
from order_pipeline_tests.warehouse.test_orders import order_row

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def say(engine: Engine, *order_ids: str, minute: int = 0) -> int:
    with transaction(engine) as connection:
        said = [Said(order_id, NOW + timedelta(minutes=minute)) for order_id in order_ids]
        return say_changed(connection, "shop", "increments", said)


def take_all(engine: Engine, key: int, limit: int = 100) -> list[Pending]:
    with transaction(engine) as connection:
        return take(connection, "shop", key, limit)


def done(engine: Engine, pending: Pending, *, again: float | None = None) -> None:
    with transaction(engine) as connection:
        settle(
            connection,
            "shop",
            [Outcome(pending, pending.seen_modified, pending.seen_modified, again, "why" if again else None)],
        )


def test_what_is_said_twice_is_done_once(engine: Engine) -> None:
    assert say(engine, "1", "2", "1") == 2
    assert say(engine, "2") == 0
    with worker(engine) as key:
        assert sorted(pending.record_id for pending in take_all(engine, key)) == ["1", "2"]
        assert take_all(engine, key) == []


def test_two_workers_never_hold_the_same_order(engine: Engine) -> None:
    say(engine, *map(str, range(500)))
    taken: list[str] = []
    lock = threading.Lock()

    def work() -> None:
        with worker(engine) as key:
            while batch := take_all(engine, key, limit=7):
                with lock:
                    taken.extend(pending.record_id for pending in batch)
                for pending in batch:
                    done(engine, pending)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(map(str, range(500)))


def test_something_newer_said_meanwhile_stays_on_the_list(engine: Engine) -> None:
    say(engine, "1", minute=1)
    with worker(engine) as key:
        (pending,) = take_all(engine, key)
        say(engine, "1", minute=2)
        done(engine, pending)
        (again,) = take_all(engine, key)
    assert again.seen_modified == NOW + timedelta(minutes=2)


def test_an_order_whose_details_are_known_is_not_put_on_the_list(engine: Engine) -> None:
    row = order_row("1", 5)
    with transaction(engine) as connection:
        merge_orders(connection, "shop", "taobao", Source.DETAIL, [row])
        assert unknown_changes(connection, "shop", [Said("1", row.order[7])]) == 0
        assert (
            unknown_changes(connection, "shop", [Said("1", row.order[7] + timedelta(seconds=1)), Said("2", NOW)]) == 2
        )
    assert say(engine, "1", minute=5) == 0
    assert say(engine, "1", minute=6) == 1


def test_an_order_that_is_put_back_comes_again_when_it_is_due(engine: Engine) -> None:
    say(engine, "1")
    with worker(engine) as key:
        (pending,) = take_all(engine, key)
        done(engine, pending, again=3600.0)
        assert take_all(engine, key) == []
        with transaction(engine) as connection:
            assert depth(connection, "shop").later == 1
            connection.execute(text("UPDATE sync.pending_order SET due_at = now()"))
        (again,) = take_all(engine, key)
        assert again.attempts == 2


def test_an_order_that_the_platform_does_not_serve_waits_for_a_newer_say(engine: Engine) -> None:
    say(engine, "1", minute=1)
    with worker(engine) as key:
        (pending,) = take_all(engine, key)
        done(engine, pending, again=float("inf"))
        assert say(engine, "1", minute=1) == 0
        assert take_all(engine, key) == []
        assert say(engine, "1", minute=2) == 1
        assert len(take_all(engine, key)) == 1


def test_the_work_of_a_killed_worker_is_free_at_once(engine: Engine, warehouse_url: str) -> None:
    say(engine, "1", "2")
    script = f"""
import os, signal
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.worklist import take, worker
engine = connect({warehouse_url!r})
with worker(engine) as key:
    with transaction(engine) as connection:
        print(len(take(connection, "shop", key, 10)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert killed.stdout.strip() == "2"
    with worker(engine) as key:
        assert len(take_all(engine, key)) == 2


def test_the_work_of_a_living_worker_is_left_alone(engine: Engine) -> None:
    say(engine, "1")
    with worker(engine) as busy, worker(engine) as other:
        assert len(take_all(engine, busy)) == 1
        assert take_all(engine, other) == []


def test_what_is_said_anyway_is_due_though_loaded_waiting_or_given_up(engine: Engine) -> None:
    with transaction(engine) as connection:
        merge_orders(connection, "shop", "taobao", Source.DETAIL, [order_row("1", 1)])
    assert say(engine, "1") == 0
    say(engine, "2", minute=5)
    with worker(engine) as key:
        (pending,) = take_all(engine, key)
        done(engine, pending, again=float("inf"))
        with transaction(engine) as connection:
            assert say_anyway(connection, "shop", "reconciliation", [Said("2", NOW), Said("1", NOW)]) == 2
        again = {pending.record_id: pending for pending in take_all(engine, key)}
    assert set(again) == {"1", "2"}
    # What a newer say knew is not forgotten.
    assert again["2"].seen_modified == NOW + timedelta(minutes=5)
    assert again["2"].attempts == 1


def announce(engine: Engine, order_id: str, *, minute: int, in_seconds: float = 0.0) -> int:
    with transaction(engine) as connection:
        said = [Announced(order_id, NOW + timedelta(minutes=minute), in_seconds)]
        return say_announced(connection, "shop", "messages", said)


def fetched(engine: Engine, pending: Pending, *, known_minute: int, again: float | None = None) -> None:
    """Details that were asked for at a minute, and show the newest that lists had seen by then."""
    known = NOW + timedelta(minutes=known_minute)
    with transaction(engine) as connection:
        settle(connection, "shop", [Outcome(pending, pending.seen_modified, known, again, None)])


def test_what_a_message_announces_is_done_once_and_only_by_details_asked_for_after_it(engine: Engine) -> None:
    assert announce(engine, "1", minute=5) == 1
    assert announce(engine, "1", minute=5) == announce(engine, "1", minute=4) == 0
    with worker(engine) as key:
        (pending,) = take_all(engine, key)
        assert (pending.seen_modified, pending.announced_at) == (EPOCH, NOW + timedelta(minutes=5))
        fetched(engine, pending, known_minute=4)
        (pending,) = take_all(engine, key)
        fetched(engine, pending, known_minute=5)
        assert take_all(engine, key) == []


def test_a_message_that_comes_while_its_order_is_fetched_is_done_by_that_fetch_if_it_was_late_enough(
    engine: Engine,
) -> None:
    announce(engine, "1", minute=1)
    announce(engine, "2", minute=1)
    with worker(engine) as key:
        for pending in take_all(engine, key):
            announce(engine, pending.record_id, minute=5)
            fetched(engine, pending, known_minute=5 if pending.record_id == "1" else 4)
        (left,) = take_all(engine, key)
    assert left.record_id == "2"


def test_an_order_that_was_given_up_while_a_message_came_stays_due(engine: Engine) -> None:
    announce(engine, "1", minute=1)
    with worker(engine) as key:
        (pending,) = take_all(engine, key)
        announce(engine, "1", minute=2)
        fetched(engine, pending, known_minute=0, again=float("inf"))
        assert len(take_all(engine, key)) == 1


def test_a_list_that_shows_while_its_order_is_fetched_what_the_fetch_brings_costs_nothing(engine: Engine) -> None:
    announce(engine, "1", minute=1)
    with worker(engine) as key:
        (pending,) = take_all(engine, key)
        say(engine, "1", minute=1)
        with transaction(engine) as connection:
            modified = NOW + timedelta(minutes=1)
            settle(connection, "shop", [Outcome(pending, modified, modified, None, None)])
        assert take_all(engine, key) == []


def test_what_somebody_wants_anyway_is_not_cleared_by_a_fetch_that_began_before(engine: Engine) -> None:
    say(engine, "1", minute=1)
    with worker(engine) as key:
        (pending,) = take_all(engine, key)
        with transaction(engine) as connection:
            say_anyway(connection, "shop", "proof", [Said("1", NOW + timedelta(minutes=1))])
        fetched(engine, pending, known_minute=9)
        assert len(take_all(engine, key)) == 1


def test_a_message_wakes_an_order_that_waits_and_delays_none_that_is_due(engine: Engine) -> None:
    announce(engine, "1", minute=1)
    with worker(engine) as key:
        (pending,) = take_all(engine, key)
        fetched(engine, pending, known_minute=0, again=3600.0)
        assert take_all(engine, key) == []
        announce(engine, "1", minute=2)
        announce(engine, "1", minute=3, in_seconds=3600.0)
        assert len(take_all(engine, key)) == 1


def test_details_are_known_unless_a_list_has_shown_something_newer(engine: Engine) -> None:
    row, newer = order_row("1", 5), order_row("1", 6)
    with transaction(engine) as connection:
        assert known_details(connection, "shop", ["1"]) == {}
        merge_orders(connection, "shop", "taobao", Source.DETAIL, [row])
        assert known_details(connection, "shop", ["1", "2"]) == {"1": KnownDetail(row.order[7], row.sent_at)}
        merge_orders(connection, "shop", "taobao", Source.LIST, [newer])
        assert known_details(connection, "shop", ["1"]) == {}
