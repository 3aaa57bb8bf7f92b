"""Holds of pre-sales against the sandbox's truth: every state, refunds, kills, and what the ERP is told."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

from order_pipeline.insights.presale import (
    Entry,
    Hold,
    Kind,
    PresaleLine,
    Sku,
    Stage,
    Version,
    breaches,
    kind_of,
)
from order_pipeline.sandbox.steering import (
    ChangeQuantity,
    ChangeSku,
    Close,
    Consign,
    Forfeit,
    NewLine,
    OrderAct,
    Pay,
    PayDeposit,
    Place,
)
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.holds import derive_holds, look_after_late
from order_pipeline.warehouse import presale_holds
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.presale_holds import count_newer_lines
from order_pipeline.warehouse.presale_rules import HOLD_RULES, WORDS
from order_pipeline.warehouse.rules import breaches as broken_rules
from order_pipeline.warehouse.watermarks import move_watermark
from order_pipeline.warehouse.worklist import depth
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import now_due, pass_over, pass_over_refunds

SHOP = "demo-shop"
small = pytest.mark.parametrize("play", [{"orders": 200, "days": 3}], indirect=True)


def catch_up(engine: Engine, play: Play) -> None:
    """Load what changed; two seconds pass, as a second that still runs is not listed yet."""
    play.clock.advance(10)
    access = play.access()
    now_due(engine)
    pass_over(engine, access)
    pass_over_refunds(engine, access)


def expected(play: Play) -> dict[tuple[str, str], tuple[int, int]]:
    """Return what the platform's own state implies, by line: pieces held by deposits, pieces of pre-sales reserved."""
    found = {}
    with play.marketplace.looking():
        for trade, _ in play.marketplace.ledger(SHOP).versions():
            if trade.step_status is None and not trade.placement.presale_days:
                continue
            for line in trade.lines:
                is_open = line.status not in ("TRADE_CLOSED", "TRADE_CLOSED_BY_TAOBAO") and not line.consigned_at
                held = trade.step_status == "FRONT_PAID_FINAL_NOPAID" and is_open
                reserved = is_open and line.status in ("WAIT_SELLER_SEND_GOODS", "PAID_FORBID_CONSIGN")
                pieces = (line.quantity if held else 0, line.quantity if reserved else 0)
                found[str(trade.tid), str(line.oid)] = pieces
    return found


def stored(engine: Engine) -> dict[tuple[str, str], tuple[int, int]]:
    with transaction(engine) as connection:
        rows = connection.execute(
            text("SELECT order_id, item_id, held_quantity, reserved_quantity FROM bi.inventory_holds")
        )
        return {(order_id, item_id): (held, reserved) for order_id, item_id, held, reserved in rows}


def scalar(engine: Engine, query: str, **values: Any) -> Any:
    with transaction(engine) as connection:
        return connection.execute(text(query), values).scalar()


def assert_sound(engine: Engine) -> None:
    """Say the invariants twice: as queries over the tables, and as the rule's own functions over every row."""
    with transaction(engine) as connection:
        assert broken_rules(connection, HOLD_RULES) == []
        rows = connection.execute(text("SELECT * FROM core.presale_hold")).mappings()
        holds = [
            Hold(
                f"{row['order_id']}/{row['item_id']}",
                Version(row["order_modified_at"], row["order_sent_at"], row["refunds_modified_at"]),
                Kind(row["kind"]),
                Stage[row["stage"].upper()],
                row["reason"],
                Sku(row["num_iid"], row["sku_id"], row["sku_code"]),
                row["quantity"],
                row["held_quantity"],
                row["reserved_quantity"],
                row["since"],
            )
            for row in rows
        ]
        rows = connection.execute(text("SELECT * FROM core.presale_hold_entry ORDER BY entry_id")).mappings()
        entries = [
            Entry(
                f"{row['order_id']}/{row['item_id']}",
                Sku(row["num_iid"], row["sku_id"], row["sku_code"]),
                row["held_change"],
                row["reserved_change"],
                None,
                Stage[row["stage"].upper()],
                row["reason"],
                row["order_modified_at"],
            )
            for row in rows
        ]
    assert breaches(holds, entries) == []


def place(play: Play, quantity: int = 2, **changes: Any) -> int:
    lines = tuple(NewLine(product_id=100_000 + place, quantity=quantity) for place in range(changes.pop("lines", 1)))
    act = Place(shop=SHOP, type=changes.pop("type", "step"), lines=lines, **changes)
    tid: int = act.carry_out(play.marketplace)["tid"]
    return tid


def act(play: Play, kind: type[OrderAct], tid: int, **values: Any) -> None:
    kind(shop=SHOP, tid=tid, **values).carry_out(play.marketplace)


def hold_of(engine: Engine, tid: int) -> tuple[Any, ...]:
    with transaction(engine) as connection:
        row = connection.execute(
            text("SELECT stage, reason, held_quantity, reserved_quantity FROM core.presale_hold WHERE order_id = :tid"),
            {"tid": str(tid)},
        ).one()
        return tuple(row)


@small
def test_holds_follow_every_state_and_are_what_the_platform_implies(engine: Engine, play: Play) -> None:
    catch_up(engine, play)
    first = derive_holds(engine, SHOP, tell=False)
    assert first.lines > 10
    assert stored(engine) == expected(play)
    with transaction(engine) as connection:
        assert count_newer_lines(connection, SHOP) == 0
    # Nothing new: nothing is done.
    assert derive_holds(engine, SHOP, tell=False)[1:] == (0, 0, 0, 0)
    tids = {name: place(play) for name in ("open", "final", "forfeit", "cancel", "sku", "more", "sent", "unpaid")}
    tids["full"] = place(play, type="fixed", presale_days=15)
    part = place(play, lines=2)
    for name, tid in tids.items():
        if name not in ("full", "unpaid"):
            act(play, PayDeposit, tid)
    act(play, PayDeposit, part)
    act(play, Pay, tids["full"])
    catch_up(engine, play)
    derive_holds(engine, SHOP, tell=True)
    assert stored(engine) == expected(play)
    assert hold_of(engine, tids["open"]) == ("held", "deposit paid", 2, 0)
    assert hold_of(engine, tids["full"]) == ("reserved", "paid in full", 0, 2)
    assert hold_of(engine, tids["unpaid"])[2:] == (0, 0)
    assert_sound(engine)

    act(play, Pay, tids["final"])
    act(play, Forfeit, tids["forfeit"])
    play.marketplace.move_refund(SHOP, tids["cancel"], "SUCCESS")
    act(play, ChangeSku, tids["sku"], variant=2)
    act(play, ChangeQuantity, tids["more"], quantity=7)
    act(play, Pay, tids["sent"])
    act(play, Consign, tids["sent"])
    act(play, Close, tids["unpaid"])
    play.marketplace.move_refund(SHOP, tids["full"], "SUCCESS")
    play.marketplace.move_refund(SHOP, part, "SUCCESS", lines=(1,))
    catch_up(engine, play)
    derive_holds(engine, SHOP, tell=True)
    assert stored(engine) == expected(play)
    assert hold_of(engine, tids["final"]) == ("reserved", "paid in full", 0, 2)
    assert hold_of(engine, tids["forfeit"]) == ("released", "deposit forfeited", 0, 0)
    assert hold_of(engine, tids["cancel"]) == ("released", "refunded", 0, 0)
    assert hold_of(engine, tids["more"]) == ("held", "deposit paid", 7, 0)
    assert hold_of(engine, tids["sent"]) == ("sent", "sent", 0, 0)
    assert hold_of(engine, tids["full"]) == ("released", "refunded", 0, 0)
    assert sorted(stored(engine)[key][0] for key in stored(engine) if key[0] == str(part)) == [0, 2]
    entries = "SELECT array_agg(held_change ORDER BY entry_id) FROM core.presale_hold_entry WHERE order_id = :tid"
    assert scalar(engine, entries, tid=str(tids["sku"])) == [2, -2, 2]
    assert_sound(engine)
    # What the ERP is told adds up to the same, whoever reads it alone.
    told = "SELECT sum((c ->> 'held')::int) FROM sync.hook_event, jsonb_array_elements(payload -> 'changes') c"
    ledger = "SELECT sum(held_change) FROM core.presale_hold_entry WHERE order_id = ANY(:tids)"
    assert scalar(engine, told) == scalar(engine, ledger, tids=[str(tid) for tid in (*tids.values(), part)])


class KilledError(BaseException):
    """What nobody catches: as if the process had died there."""


@contextmanager
def killed_at(engine: Engine, statement: int) -> Iterator[None]:
    """Let the process die before that statement; its transaction goes with it."""
    seen = itertools.count(1)

    def die(*_: object) -> None:
        if next(seen) == statement:
            raise KilledError

    event.listen(engine, "before_cursor_execute", die)
    try:
        with suppress(KilledError):
            yield
    finally:
        event.remove(engine, "before_cursor_execute", die)


@small
def test_a_derivation_that_is_killed_anywhere_loses_and_doubles_nothing(engine: Engine, play: Play) -> None:
    chance = random.Random(5)
    catch_up(engine, play)
    tids = [place(play) for _ in range(12)]
    for tid in tids:
        act(play, PayDeposit, tid)
    for number in range(3):
        catch_up(engine, play)
        for _ in range(6):
            with killed_at(engine, chance.randint(1, 20)):
                derive_holds(engine, SHOP, tell=True, batch=4)
            assert_sound(engine)
        # Two at once, after all of it.
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda _: derive_holds(engine, SHOP, tell=True, batch=4), range(2)))
        assert stored(engine) == expected(play)
        assert_sound(engine)
        for tid in tids[number * 4 : number * 4 + 4]:
            if number % 2:
                act(play, Pay, tid)
            else:
                play.marketplace.move_refund(SHOP, tid, "SUCCESS")
    # The ERP was told each change once, too.
    told = "SELECT sum((c ->> 'held')::int) FROM sync.hook_event, jsonb_array_elements(payload -> 'changes') c"
    assert scalar(engine, told) == scalar(engine, "SELECT sum(held_change) FROM core.presale_hold_entry")
    entries = "SELECT sum(jsonb_array_length(payload -> 'changes')) FROM sync.hook_event"
    assert scalar(engine, entries) == scalar(engine, "SELECT count(*) FROM core.presale_hold_entry")


@small
def test_a_late_final_payment_is_asked_for_once_a_day_and_never_released(engine: Engine, play: Play) -> None:
    tid = place(play)
    act(play, PayDeposit, tid)
    catch_up(engine, play)
    derive_holds(engine, SHOP, tell=False)
    held = hold_of(engine, tid)
    assert look_after_late(engine, [SHOP]) == []
    for hours, waiting in ((0, True), (2, False), (25, True)):
        with transaction(engine) as connection:
            move_watermark(connection, SHOP, NOON + timedelta(days=60, hours=hours))
        assert str(tid) in {late.order_id for late in look_after_late(engine, [SHOP])}
        with transaction(engine) as connection:
            assert (depth(connection, SHOP).due > 0) is waiting
        drain(play.access(), engine)
    derive_holds(engine, SHOP, tell=False)
    assert hold_of(engine, tid) == held


@small
def test_the_ledger_is_only_added_to_and_a_false_hold_is_found(engine: Engine, play: Play) -> None:
    tid = place(play)
    act(play, PayDeposit, tid)
    catch_up(engine, play)
    derive_holds(engine, SHOP, tell=False)
    for change in ("DELETE FROM core.presale_hold_entry", "UPDATE core.presale_hold_entry SET held_change = 0"):
        with pytest.raises(DBAPIError, match="rows are only added"), transaction(engine) as connection:
            connection.execute(text(change))
    with transaction(engine) as connection:
        connection.execute(
            text("UPDATE core.presale_hold SET held_quantity = 1 WHERE order_id = :tid"), {"tid": str(tid)}
        )
        found = {breach.rule: breach for breach in broken_rules(connection, HOLD_RULES)}
        assert set(found) == {
            "the ledger of a line adds up to what it holds",
            "what is held is what open deposits ordered",
        }
        connection.execute(
            text("UPDATE core.orders SET step_status = 'FRONT_NEW' WHERE order_id = :tid"), {"tid": str(tid)}
        )
        assert [breach.rows for breach in broken_rules(connection, WORDS)] == [1]


@small
def test_a_line_that_left_its_order_holds_nothing(engine: Engine, play: Play) -> None:
    tid = place(play)
    act(play, PayDeposit, tid)
    catch_up(engine, play)
    derive_holds(engine, SHOP, tell=False)
    with transaction(engine) as connection:
        connection.execute(text("DELETE FROM core.order_items WHERE order_id = :tid"), {"tid": str(tid)})
        connection.execute(
            text("""
                UPDATE core.orders SET modified_at = modified_at + interval '1 s', stored_at = now()
                WHERE order_id = :tid
            """),
            {"tid": str(tid)},
        )
    derive_holds(engine, SHOP, tell=False)
    assert hold_of(engine, tid) == ("released", "line removed", 0, 0)
    assert_sound(engine)


def test_the_query_and_the_rule_call_the_same_a_presale(engine: Engine) -> None:
    """One row each way that the four fields can be."""
    moment = NOON
    ways = itertools.product(("step", "fixed"), (None, "FRONT_PAID_FINAL_NOPAID"), (None, True, False), (None, moment))
    query = f"""
        SELECT {presale_holds.IS_PRESALE} FROM (
            SELECT cast(:type AS text) AS type, cast(:step AS text) AS step_status, cast(:promise AS timestamptz)
                   AS promised_ship_at, cast(:extra AS jsonb) AS extra, now() AS detail_modified_at
        ) AS o
    """
    with transaction(engine) as connection:
        for order_type, step, new_presell, promise in ways:
            line = PresaleLine(
                "1", Version(moment, moment), Sku("1", "1", ""), 1, order_type, "WAIT_BUYER_PAY", None, step,
                new_presell, promise,
            )  # fmt: skip
            extra = "{}" if new_presell is None else f'{{"new_presell": {str(new_presell).lower()}}}'
            found = connection.execute(
                text(query), {"type": order_type, "step": step, "promise": promise, "extra": extra}
            ).scalar()
            assert bool(found) is (kind_of(line) is not None), line
