"""Lists that say they are empty: flagged in the window that they hide, and what they hid is in the tables later."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import due_work
from order_pipeline.sync.listing import list_changes, list_history
from order_pipeline.sync.silence import SILENT_LISTS
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.notices import open_subjects
from order_pipeline.warehouse.watermarks import move_watermark, read_watermark
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.proving import hear, now_due, pass_over

CHANGES = "taobao.trades.sold.increment.get"
EMPTY = Fault(name="empty_page", kind="list", method=CHANGES)


def flagged(engine: Engine) -> bool:
    with transaction(engine) as connection:
        return "demo-shop" in open_subjects(connection, SILENT_LISTS)


def look(engine: Engine, access: ShopAccess) -> str:
    return due_work(access, engine).explanation


@pytest.mark.parametrize("play", [{"orders": 2_500}], indirect=True)
def test_an_empty_window_where_every_day_before_had_orders_is_flagged_at_once_and_the_watermark_waits(
    engine: Engine, play: Play
) -> None:
    access = play.access()
    now = play.now
    for day in due_work(access, engine).history_days:
        list_history(access, engine, day, now)
    with transaction(engine) as connection:
        # Details are another matter.
        connection.execute(text("DELETE FROM sync.pending_order"))
    play.marketplace.faults.switch_on(EMPTY)
    # As after an hour of empty lists, each of which was too short to be suspect: nothing of it is known.
    play.clock.advance(3600)
    hidden = str(play.marketplace.place_order("demo-shop"))
    with transaction(engine) as connection:
        move_watermark(connection, "demo-shop", play.now - timedelta(minutes=1))
        watermark = read_watermark(connection, "demo-shop")
    assert not flagged(engine)
    said = look(engine, access)
    assert "the lists bring nothing since 2026-03-15 11:" in said
    assert "new orders are usual" in said
    assert flagged(engine)
    # Neither a look nor a pass believes it, and what it hides is listed when the platform shows it again.
    listing = list_changes(access, engine, day_of(play.now), play.now)
    assert (listing.stored.listed, listing.watermark) == (0, watermark)
    play.clock.advance(3 * 3600)
    look(engine, access)
    play.marketplace.faults.clear()
    look(engine, access)
    assert not flagged(engine)
    list_changes(access, engine, day_of(play.now), play.now)
    with transaction(engine) as connection:
        found = connection.execute(text("SELECT 1 FROM core.orders WHERE order_id = :id"), {"id": hidden}).scalar()
        moved = read_watermark(connection, "demo-shop")
    assert found
    assert watermark is not None
    assert moved is not None
    assert moved > watermark


@pytest.mark.parametrize("play", [{"orders": 60}], indirect=True)
def test_an_empty_window_in_which_messages_tell_of_an_order_is_flagged_however_small_the_shop(
    engine: Engine, play: Play
) -> None:
    access = play.access()
    pass_over(engine, access)
    hear(engine, access)
    play.marketplace.faults.switch_on(EMPTY)
    play.clock.advance(600)
    assert "known" in look(engine, access)
    # A quiet quarter of an hour is nothing in so small a shop.
    assert not flagged(engine)
    play.marketplace.place_order("demo-shop")
    play.clock.advance(150)
    hear(engine, access)
    now_due(engine)
    assert "1 orders are known to have changed" in look(engine, access)
    assert flagged(engine)
    play.marketplace.faults.clear()
    look(engine, access)
    assert not flagged(engine)
