"""Windows of lists: a reader sees them whole or not at all, whatever becomes of the load midway."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from order_pipeline.platforms.protocol import OrderPage, Window
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_changes, list_history
from order_pipeline.sync.loading import Walk, load_window
from order_pipeline.sync.refund_listing import list_refunds
from order_pipeline.sync.storing import order_lists
from order_pipeline.sync.windows import day_of
from order_pipeline.traffic.errors import TransientError
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.staging import StagedRowsError
from order_pipeline.warehouse.watermarks import INCREMENTS
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import pass_over, proof

SHOP = "demo-shop"
TODAY = day_of(NOON)
# Many small pages: a window of some hundred orders comes in a dozen batches.
PAGE_SIZE = 5


def count(engine: Engine, table: str) -> int:
    with transaction(engine) as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def place(play: Play, orders: int) -> None:
    for _ in range(orders):
        play.marketplace.place_order(SHOP)
    play.clock.advance(60)


@contextmanager
def watching(url: str, look: Callable[[Engine], int]) -> Iterator[set[int]]:
    """Look again and again while the block runs, at least once before and after, and collect what was seen."""
    seen: set[int] = set()
    over = threading.Event()
    engine = connect(url)

    def watch() -> None:
        while True:
            last = over.is_set()
            seen.add(look(engine))
            if last:
                return

    seen.add(look(engine))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
        engine.dispose()


def walk_of(pages: Callable[[Window], Iterator[OrderPage]]) -> Walk[OrderPage]:
    return Walk(Window(NOON, NOON + timedelta(hours=1)), pages, lambda _: None)


def test_a_reader_sees_a_day_of_the_first_load_whole_or_not_at_all(
    engine: Engine, warehouse_url: str, play: Play
) -> None:
    place(play, 400)
    with watching(warehouse_url, lambda engine: count(engine, "bi.orders")) as seen:
        listing = list_history(play.access(PAGE_SIZE), engine, TODAY, play.now)
    assert listing.pages >= 80
    assert seen == {0, listing.stored.listed}


def test_a_reader_sees_the_changes_of_a_window_all_or_none(engine: Engine, warehouse_url: str, play: Play) -> None:
    access = play.access(PAGE_SIZE)
    pass_over(engine, access)
    with transaction(engine) as connection:
        tids = connection.execute(text("SELECT order_id FROM core.orders")).scalars().all()
    for tid in tids:
        play.marketplace.edit_memo(SHOP, int(tid), "changed")
    play.clock.advance(60)

    def changed(engine: Engine) -> int:
        with transaction(engine) as connection:
            found = connection.execute(text("SELECT count(*) FROM bi.orders WHERE modified_at >= :t"), {"t": NOON})
            return int(found.scalar_one())

    before = changed(engine)
    with watching(warehouse_url, changed) as seen:
        list_changes(access, engine, TODAY, play.now)
    assert len(tids) == 300
    assert seen == {before, 300}


def test_nothing_is_fetched_in_detail_before_its_window_is_there(
    engine: Engine, warehouse_url: str, play: Play
) -> None:
    place(play, 200)
    with watching(warehouse_url, lambda engine: count(engine, "sync.pending_order")) as seen:
        list_history(play.access(PAGE_SIZE), engine, TODAY, play.now)
    assert len(seen) == 2


def test_of_refunds_too_a_window_is_there_whole_or_not_at_all(engine: Engine, warehouse_url: str, play: Play) -> None:
    # Of a busy month, one a page.
    with watching(warehouse_url, lambda engine: count(engine, "bi.refunds")) as seen:
        listing = list_refunds(play.access(1), engine, TODAY - timedelta(days=5), play.now, last=TODAY)
    assert listing.pages > 16
    assert seen == {0, listing.stored.listed}


def test_a_walk_that_fails_midway_shows_nothing_and_the_next_one_everything(engine: Engine, play: Play) -> None:
    place(play, 200)
    access = play.access(PAGE_SIZE)

    def failing(window: Window) -> Iterator[OrderPage]:
        for number, page in enumerate(access.platform.changed_orders(window)):
            if number == 20:
                raise TransientError("a page", "no answer", remedy="wait")
            yield page

    with pytest.raises(TransientError):
        load_window(access, engine, order_lists(access, INCREMENTS), walk_of(failing))
    assert count(engine, "bi.orders") == 0
    # What the platform said is kept all the same.
    assert count(engine, "raw.page") >= 10
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_a_session_that_ends_midway_takes_its_rows_along_and_the_window_is_walked_again(
    engine: Engine, warehouse_url: str, play: Play
) -> None:
    place(play, 200)
    access = play.access(PAGE_SIZE)
    walks = 0

    def interrupted(window: Window) -> Iterator[OrderPage]:
        nonlocal walks
        walks += 1
        for number, page in enumerate(access.platform.changed_orders(window)):
            if number == 20 and walks == 1:
                terminate_others(warehouse_url)
            yield page

    loaded = load_window(access, engine, order_lists(access, INCREMENTS), walk_of(interrupted))
    assert walks == 2
    assert loaded.stored.listed == count(engine, "bi.orders") == 200
    assert loaded.stored.changed == count(engine, "sync.pending_order") == 200


def terminate_others(url: str) -> None:
    other = connect(url)
    with transaction(other) as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    other.dispose()


def test_an_order_that_changes_during_the_walk_is_there_in_its_newest_version(engine: Engine, play: Play) -> None:
    place(play, 100)
    access = play.access(PAGE_SIZE)
    with play.marketplace.looking():
        moving = [trade.tid for trade, _ in play.marketplace.ledger(SHOP).versions()][-30:]

    def moved(window: Window) -> Iterator[OrderPage]:
        for number, page in enumerate(access.platform.changed_orders(window)):
            yield page
            # Once more before the window's end, so that the walk meets them again.
            if number % 3 == 0 and moving:
                play.clock.advance(1)
                play.marketplace.edit_memo(SHOP, moving.pop(0), "moved")

    load_window(access, engine, order_lists(access, INCREMENTS), walk_of(moved))
    play.clock.advance(10)
    pass_over(engine, access)
    drain(access, engine)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_a_window_of_which_rows_are_gone_is_not_merged(engine: Engine, play: Play) -> None:
    place(play, 100)
    access = play.access(PAGE_SIZE)
    lists = order_lists(access, INCREMENTS)

    def stage_and_lose(connection, pages):  # type: ignore[no-untyped-def]
        staged = lists.stage(connection, pages)
        connection.execute(text("DELETE FROM staged_order WHERE ctid = (SELECT min(ctid) FROM staged_order)"))
        return staged

    with pytest.raises(StagedRowsError, match="no pooler in transaction mode"):
        load_window(access, engine, lists._replace(stage=stage_and_lose), walk_of(access.platform.changed_orders))
    assert count(engine, "bi.orders") == 0
