"""The connection beside the data's: committed at once, replaced when broken, never shared by two processes."""

from __future__ import annotations

import gc
import os
import threading
import time
import warnings

import pytest
from sqlalchemy import Engine, text

from order_pipeline.traffic import side_connection as module
from order_pipeline.traffic.errors import TransientError
from order_pipeline.traffic.side_connection import SideConnection, side_connection
from order_pipeline.warehouse.database import transaction

WHO = text("SELECT pg_backend_pid()")


def is_open(engine: Engine, backend: int) -> bool:
    """Whether the server still has this connection. Others come and go: the tests before this one left theirs."""
    with transaction(engine) as connection:
        found = connection.execute(text("SELECT 1 FROM pg_stat_activity WHERE pid = :pid"), {"pid": backend}).scalar()
    return found is not None


def test_it_is_one_connection_for_all_who_ask_and_closes_with_the_last_of_them(engine: Engine) -> None:
    one, other = side_connection(engine), side_connection(engine)
    assert one is other
    backend = one.execute(WHO, {}, attempted="a test")[0][0]
    assert other.execute(WHO, {}, attempted="a test")[0][0] == backend
    del one
    gc.collect()
    assert is_open(engine, backend)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del other
        gc.collect()
    # The server takes its time to notice that a connection is closed.
    deadline = time.monotonic() + 60
    while is_open(engine, backend):
        assert time.monotonic() < deadline, "the connection is still open"
        time.sleep(0.02)


def test_what_it_writes_is_there_for_all_at_once(engine: Engine) -> None:
    side_connection(engine).execute(
        text("INSERT INTO sync.rate_budget (app_key) VALUES (:key)"), {"key": "app"}, attempted="a test"
    )
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM sync.rate_budget")).scalar() == 1


def test_a_row_that_somebody_holds_locked_stops_calls_for_a_while_only(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SESSION", "SET statement_timeout = 1500")
    side = SideConnection(engine)
    side.execute(text("INSERT INTO sync.rate_budget (app_key) VALUES ('app')"), {}, attempted="a test")
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.rate_budget SET next_at = now()"))
        with pytest.raises(TransientError, match=r"a call failed: canceling statement due to statement timeout"):
            side.execute(text("UPDATE sync.rate_budget SET next_at = now()"), {}, attempted="a call")
    side.execute(text("UPDATE sync.rate_budget SET next_at = now()"), {}, attempted="a call")
    side.close()


def test_threads_take_turns(engine: Engine) -> None:
    side = side_connection(engine)
    answers: list[int] = []

    def ask() -> None:
        answers.extend(row[0] for _ in range(50) for row in side.execute(text("SELECT 1"), {}, attempted="a test"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [1] * 400


def test_a_forked_process_opens_its_own_and_leaves_the_parents_alone(engine: Engine) -> None:
    side = side_connection(engine)
    mine = side.execute(WHO, {}, attempted="a test")[0][0]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(side.execute(WHO, {}, attempted="a test")[0][0]).encode())
        finally:
            os._exit(0)
    os.close(write)
    theirs = int(os.read(read, 32))
    os.close(read)
    os.waitpid(child, 0)
    assert theirs != mine
    assert side.execute(WHO, {}, attempted="a test")[0][0] == mine
