"""The nightly proof of a day, against the sandbox over HTTP and a real Postgres."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import date, timedelta

import psycopg2
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_changes, list_history
from order_pipeline.sync.reconciliation import MOST_LISTED, MOST_ROUNDS, Reconciliation, reconcile_day
from order_pipeline.sync.windows import day_window
from order_pipeline.traffic.errors import TransientError
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.proofs import ProofRow
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import pass_over, proof

SHOP = "demo-shop"
DAY = (NOON - timedelta(days=1)).date()
MOST_CALLS_ON_A_RIGHT_DAY = 5


def load(engine: Engine, access: ShopAccess, day: date = DAY) -> None:
    list_history(access, engine, day, access.platform.now())
    drain(access, engine)


def reconcile(engine: Engine, access: ShopAccess, *, listed: bool = False) -> Reconciliation:
    found = reconcile_day(access, engine, DAY, access.platform.now(), listed=listed)
    assert found is not None
    return found


def follow(engine: Engine, play: Play, access: ShopAccess, seconds: int) -> None:
    """Let time pass, and the pipeline follow what changes by itself meanwhile."""
    play.clock.advance(seconds)
    list_changes(access, engine, NOON.date(), access.platform.now())
    play.clock.advance(4)
    drain(access, engine)


def order_ids(engine: Engine, day: date = DAY) -> list[str]:
    window = day_window(day)
    with transaction(engine) as connection:
        rows = connection.execute(
            text("SELECT order_id FROM core.orders WHERE created_at >= :start AND created_at < :end ORDER BY 1"),
            {"start": window.start, "end": window.end},
        )
        return list(rows.scalars())


def execute(engine: Engine, statement: str, order_ids: Sequence[str] = ()) -> None:
    with transaction(engine) as connection:
        connection.execute(text(statement), {"ids": list(order_ids)})


def stored(engine: Engine) -> list[tuple[bool, int, int, int]]:
    with transaction(engine) as connection:
        rows = connection.execute(
            text("SELECT equal, missing, stale, unsettled FROM sync.reconciliation ORDER BY reconciled_at")
        )
        return [tuple(row) for row in rows]


DELETE = "DELETE FROM core.order_items WHERE order_id = ANY(:ids)", "DELETE FROM core.orders WHERE order_id = ANY(:ids)"
AGE = (
    """
    UPDATE core.orders SET modified_at = modified_at - interval '1 minute', status = 'WAIT_BUYER_PAY'
    WHERE order_id = ANY(:ids)
    """,
)
ALTER_PAYMENT = ("UPDATE core.orders SET payment = payment + 1 WHERE order_id = ANY(:ids)",)
ALTER_STATUS = ("UPDATE core.orders SET status = 'SOMETHING_ELSE' WHERE order_id = ANY(:ids)",)
ALTER_QUANTITY = ("UPDATE core.order_items SET quantity = quantity + 1 WHERE order_id = ANY(:ids)",)
ALTER_TEXT = ("UPDATE core.orders SET receiver_city = 'elsewhere' WHERE order_id = ANY(:ids)",)
DELETE_LINE = (
    """
    DELETE FROM core.order_items i WHERE order_id = ANY(:ids)
        AND item_id = (SELECT max(item_id) FROM core.order_items o WHERE o.order_id = i.order_id)
    """,
)
# As if only a list had brought it, and the details were never said to be due.
FORGET_DETAILS = ("UPDATE core.orders SET source = 'list', detail_modified_at = NULL WHERE order_id = ANY(:ids)",)
ALTERATIONS = [AGE, ALTER_PAYMENT, ALTER_STATUS, ALTER_QUANTITY, ALTER_TEXT, DELETE_LINE, FORGET_DETAILS]


@pytest.mark.parametrize("play", [{"orders": 4_000, "days": 2}], indirect=True)
def test_half_a_percent_of_sabotage_is_found_exactly_and_mended(engine: Engine, play: Play) -> None:
    access = play.access()
    load(engine, access)
    day = order_ids(engine)
    assert len(day) >= 2_000
    follow(engine, play, access, 3600)

    right = reconcile(engine, play.access())
    assert right.row.equal
    assert not right.row.listed
    assert right.row.calls <= MOST_CALLS_ON_A_RIGHT_DAY
    assert (right.row.expected, right.row.found, right.row.missing, right.row.stale) == (len(day), len(day), 0, 0)

    chance = random.Random(4)
    victims = chance.sample(day, 6 + 2 * len(ALTERATIONS))
    gone, spoilt = victims[:6], victims[6:]
    for statement in DELETE:
        execute(engine, statement, gone)
    for number, statements in enumerate(ALTERATIONS):
        for statement in statements:
            execute(engine, statement, spoilt[2 * number : 2 * number + 2])

    found = reconcile(engine, access)
    assert (found.row.missing, found.row.stale, found.row.extra) == (len(gone), len(spoilt), 0)
    assert {order_id for order_id, _ in found.sample} <= set(victims)
    assert found.row.refilled == len(victims)
    assert found.row.equal
    assert found.row.rounds == 1
    # A page every hundred orders, and one call for each that differed.
    assert found.row.calls <= len(day) / 100 * 1.1 + len(victims) + MOST_CALLS_ON_A_RIGHT_DAY
    truth = proof(engine, access, play.server.url)
    assert truth.stale == truth.duplicated == 0, truth.examples
    assert order_ids(engine) == day

    play.clock.advance(1)
    again = reconcile(engine, play.access())
    assert again.row.equal
    assert again.row.calls <= MOST_CALLS_ON_A_RIGHT_DAY


@pytest.mark.parametrize("play", [{"orders": 1_000, "days": 2}], indirect=True)
@pytest.mark.parametrize("statements", ALTERATIONS)
def test_a_single_altered_row_of_a_counted_day_is_found(
    engine: Engine, play: Play, statements: tuple[str, ...]
) -> None:
    access = play.access()
    load(engine, access)
    day = order_ids(engine)
    assert len(day) > MOST_LISTED
    play.clock.advance(60)
    for statement in statements:
        execute(engine, statement, day[7:8])
    found = reconcile(engine, access)
    assert (found.row.missing, found.row.stale, found.row.refilled) == (0, 1, 1)
    assert found.sample == ((day[7], "stale"),)
    assert found.row.equal
    truth = proof(engine, access, play.server.url)
    assert truth.stale == truth.duplicated == 0, truth.examples


def test_a_small_day_is_listed_for_no_more_calls_than_counting_takes(engine: Engine, play: Play) -> None:
    pass_over(engine, play.access())
    play.clock.advance(60)
    right = reconcile(engine, play.access())
    assert right.row.listed
    assert right.row.equal
    assert right.row.calls <= MOST_CALLS_ON_A_RIGHT_DAY
    assert right.row.totals["platform"] == right.row.totals["warehouse"]


@pytest.mark.parametrize(
    "play",
    [{"orders": 1_200, "days": 2, "bounds": bounds} for bounds in ("inclusive", "half_open", "exclusive")],
    indirect=True,
)
def test_a_change_that_both_channels_missed_is_found_where_the_day_is_listed(engine: Engine, play: Play) -> None:
    access = play.access()
    load(engine, access)
    play.clock.advance(60)
    missed = order_ids(engine)[::50]
    for order_id in missed:
        play.marketplace.edit_memo(SHOP, int(order_id), "nobody said so")
    play.clock.advance(60)
    found = reconcile(engine, access, listed=True)
    assert (found.row.missing, found.row.stale, found.row.refilled) == (0, len(missed), len(missed))
    assert found.row.equal
    assert reconcile(engine, access).row.calls <= MOST_CALLS_ON_A_RIGHT_DAY


def test_a_deposit_whose_details_lagged_behind_is_found_by_a_listed_day(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    order_id = str(play.marketplace.place_order(SHOP, order_type="step"))
    play.clock.advance(60)
    pass_over(engine, access)
    # As if the details had been the platform's of a moment before, in the same second: answer and row agree, and
    # status and amount are the same in either step.
    now, before = "FRONT_NOPAID_FINAL_NOPAID", "FRONT_PAID_FINAL_NOPAID"
    values = {"order_id": order_id, "now": now, "before": before}
    with transaction(engine) as connection:
        body = "UPDATE raw.page SET body = replace(body, :now, :before) WHERE order_id = :order_id"
        assert connection.execute(text(body), values).rowcount == 1
        row = "UPDATE core.orders SET step_status = :before WHERE order_id = :order_id AND step_status = :now"
        assert connection.execute(text(row), values).rowcount == 1
    play.clock.advance(60)
    today = reconcile_day(access, engine, NOON.date(), access.platform.now(), listed=True)
    assert today is not None
    assert today.sample == ((order_id, "stale"),)
    assert today.row.equal
    truth = proof(engine, access, play.server.url)
    assert truth.equal, truth.examples


def test_an_order_in_quarantine_is_missing_until_it_is_settled(engine: Engine, play: Play) -> None:
    access = play.access()
    # Which orders are struck follows from their numbers, so they are the same each time.
    play.marketplace.faults.switch_on(
        Fault(name="poison", rate=0.1, seed=2, kind="money_text", method="taobao.trade.fullinfo.get")
    )
    load(engine, access)
    play.clock.advance(60)
    with transaction(engine) as connection:
        held = connection.execute(
            text("SELECT count(DISTINCT order_id) FROM sync.quarantine WHERE resolved_at IS NULL")
        ).scalar()
    assert held
    red = reconcile(engine, access)
    assert not red.row.equal
    assert red.row.quarantined == red.row.missing == red.row.unsettled == held
    assert red.row.found == red.row.expected - held
    assert {was for _, was in red.sample} == {"quarantined"}
    # Looked at again and again, it stays red, and costs a call for each of them.
    play.clock.advance(60)
    assert reconcile(engine, access).row.unsettled == held
    play.marketplace.faults.clear()
    play.clock.advance(60)
    settled = reconcile(engine, access)
    assert settled.row.missing == settled.row.refilled == held
    assert settled.row.equal


def test_a_record_whose_id_cannot_be_read_keeps_the_day_red(engine: Engine, play: Play) -> None:
    access = play.access()
    load(engine, access)
    play.clock.advance(60)
    play.marketplace.faults.switch_on(
        Fault(name="poison", rate=0.05, seed=3, kind="huge_tid", method="taobao.trades.sold.get")
    )
    red = reconcile(engine, access)
    assert not red.row.equal
    assert red.row.unsettled == red.row.quarantined > 0


def test_dying_between_refill_and_result_leaves_the_next_run_less_to_do(engine: Engine, play: Play) -> None:
    access = play.access()
    load(engine, access)
    play.clock.advance(60)
    victims = order_ids(engine)[:12]
    for statement in DELETE:
        execute(engine, statement, victims)
    execute(
        engine,
        """
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'killed'; END $$;
        CREATE TRIGGER die BEFORE INSERT ON sync.reconciliation EXECUTE FUNCTION die();
        """,
    )
    with pytest.raises((DBAPIError, psycopg2.Error), match="killed"):
        reconcile(engine, access)
    assert stored(engine) == []
    execute(engine, "DROP TRIGGER die ON sync.reconciliation")
    assert reconcile(engine, access).row.equal
    assert stored(engine) == [(True, 0, 0, 0)]


KILLED = """
import sys
from datetime import date
from order_pipeline.configuration import Shop
from order_pipeline.sync.access import open_shop
from order_pipeline.sync.reconciliation import reconcile_day
from order_pipeline.warehouse.database import connect
url, gateway, key, secret, session, day = sys.argv[1:]
access = open_shop(Shop(id="demo-shop", platform="taobao", gateway_url=gateway, app_key=key, app_secret=secret,
                        session_key=session))
reconcile_day(access, connect(url), date.fromisoformat(day), access.platform.now())
"""


def test_killed_in_the_middle_of_a_refill_the_next_run_converges(
    engine: Engine, warehouse_url: str, play: Play
) -> None:
    access = play.access()
    load(engine, access)
    play.clock.advance(60)
    day = order_ids(engine)
    for statement in DELETE:
        execute(engine, statement, day)
    play.marketplace.faults.switch_on(Fault(name="latency", milliseconds=300, method="taobao.trade.fullinfo.get"))
    shop = play.shop()
    arguments = [warehouse_url, shop.gateway_url, shop.app_key, shop.app_secret, shop.session_key, str(DAY)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])
    until = time.monotonic() + 120
    while play.marketplace.statistics()["calls"]["taobao.trade.fullinfo.get"] < len(day) + 4:
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    play.marketplace.faults.clear()
    assert stored(engine) == []
    found = reconcile(engine, access)
    assert found.row.equal
    assert order_ids(engine) == day


def test_a_platform_that_does_not_stand_still_is_caught_up_with(engine: Engine, play: Play) -> None:
    access = play.access()
    load(engine, access)
    play.clock.advance(60)
    day = order_ids(engine)
    for statement in DELETE:
        execute(engine, statement, day[:20])
    stopped = threading.Event()
    chance = random.Random(9)

    def change() -> None:
        while not stopped.wait(0.005):
            play.marketplace.edit_memo(SHOP, int(chance.choice(day)), f"memo {chance.random()}")
            play.clock.advance(1)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(3):
            found = reconcile(engine, access)
            assert found.row.equal
            assert found.row.rounds <= MOST_ROUNDS
    finally:
        stopped.set()
        changing.join()
    play.clock.advance(5)
    reconcile(engine, access)
    truth = proof(engine, access, play.server.url)
    assert truth.stale == truth.duplicated == 0, truth.examples


@pytest.mark.parametrize("play", [{"orders": 2_400, "days": 2}], indirect=True)
def test_an_order_placed_at_midnight_hides_no_missing_one(engine: Engine, play: Play) -> None:
    """As when a sale begins: counted with the day or not, it would make up for the one that is missing."""
    access = play.access()
    today, tomorrow = NOON.date(), NOON.date() + timedelta(days=1)
    play.clock.advance(12 * 3600)
    midnight = str(play.marketplace.place_order(SHOP))
    play.clock.advance(3600)
    for day in (today, tomorrow):
        load(engine, access, day)
    with transaction(engine) as connection:
        same_status = text("""
            SELECT o.order_id FROM core.orders o JOIN core.orders m USING (status)
            WHERE m.order_id = :midnight AND (o.created_at AT TIME ZONE 'Asia/Shanghai')::date = :today LIMIT 1
        """)
        gone = connection.execute(same_status, {"midnight": midnight, "today": today}).scalar_one()
        created = "SELECT created_at FROM core.orders WHERE order_id = :midnight"
        placed_at = connection.execute(text(created), {"midnight": midnight}).scalar_one()
    assert placed_at == day_window(today).end
    right = reconcile_day(access, engine, today, access.platform.now())
    assert right is not None
    assert not right.row.listed
    assert right.row.equal
    assert right.row.totals["platform"]["others"] >= 0
    assert sum(right.row.totals["platform"].values()) == right.row.expected == len(order_ids(engine, today))
    for statement in DELETE:
        execute(engine, statement, [gone])
    found = reconcile_day(access, engine, today, access.platform.now())
    assert found is not None
    assert (found.row.missing, found.row.refilled, found.row.equal) == (1, 1, True)
    assert proof(engine, access, play.server.url, created_from=str(today)).equal


@pytest.mark.parametrize(
    ("play", "kind"), [({"orders": 1_000, "days": 2}, kind) for kind in ("more", "less", "either")], indirect=["play"]
)
def test_wrong_totals_cost_calls_and_no_right_day_its_green(engine: Engine, play: Play, kind: str) -> None:
    access = play.access()
    load(engine, access)
    play.clock.advance(60)
    play.marketplace.faults.switch_on(Fault(name="wrong_total", kind=kind))
    found = reconcile(engine, access)
    assert found.row.equal
    assert found.row.missing == found.row.stale == found.row.extra == found.row.rounds == 0
    play.marketplace.faults.clear()
    play.marketplace.faults.switch_on(Fault(name="wrong_total", kind=kind, count=1))
    once = reconcile(engine, access)
    assert once.row.equal
    assert not once.row.listed
    assert once.row.calls <= MOST_CALLS_ON_A_RIGHT_DAY + 1


def test_an_order_that_the_platform_does_not_have_is_reported_and_left_alone(engine: Engine, play: Play) -> None:
    access = play.access()
    load(engine, access)
    play.clock.advance(60)
    copied = order_ids(engine)[3]
    for table in ("orders", "order_items"):
        execute(
            engine,
            f"CREATE TEMP TABLE copied ON COMMIT DROP AS SELECT * FROM core.{table} WHERE order_id = '{copied}'; "
            f"UPDATE copied SET order_id = '1234567890123456789'; INSERT INTO core.{table} SELECT * FROM copied",
        )
    found = reconcile(engine, access)
    assert not found.row.equal
    assert (found.row.extra, found.row.missing, found.row.stale, found.row.unsettled) == (1, 0, 0, 1)
    assert found.sample == (("1234567890123456789", "extra"),)
    assert "1234567890123456789" in order_ids(engine)


def test_a_list_that_says_it_is_empty_is_not_believed_and_nothing_is_fetched_for_it(engine: Engine, play: Play) -> None:
    access = play.access()
    # Two hundred on a day: more than are looked at one by one.
    for _ in range(150):
        play.marketplace.place_order(SHOP)
    play.clock.advance(60)
    load(engine, access, NOON.date())
    play.marketplace.faults.switch_on(Fault(name="empty_page", kind="list"))
    play.clock.advance(60)
    before = access.calls.total_by_method["taobao.trade.fullinfo.get"]
    found = reconcile_day(access, engine, NOON.date(), access.platform.now())
    assert found is not None
    assert not found.row.equal
    assert found.row.expected == 0
    assert found.row.extra == found.row.found > 150
    assert access.calls.total_by_method["taobao.trade.fullinfo.get"] == before


def test_a_platform_that_is_away_leaves_no_result(engine: Engine, play: Play) -> None:
    access = play.access()
    load(engine, access)
    play.clock.advance(60)
    now = access.platform.now()
    play.marketplace.faults.switch_on(Fault(name="http_error", method="taobao.trades.sold.get"))
    with pytest.raises(TransientError):
        reconcile_day(access, engine, DAY, now)
    assert stored(engine) == []


def test_a_day_that_has_not_begun_is_not_proven(engine: Engine, play: Play) -> None:
    assert reconcile_day(play.access(), engine, NOON.date() + timedelta(days=1), play.now) is None


def test_bi_reads_the_latest_proof_of_a_day(engine: Engine, play: Play) -> None:
    access = play.access()
    load(engine, access)
    play.clock.advance(60)
    for statement in DELETE:
        execute(engine, statement, order_ids(engine)[:2])
    reconcile(engine, access)
    reconcile(engine, access)
    with transaction(engine) as connection:
        connection.execute(text("SET LOCAL ROLE bi_reader"))
        (row,) = connection.execute(text("SELECT * FROM bi.reconciliation")).mappings()
    assert set(ProofRow._fields) | {"reconciled_at"} == set(row)
    assert (row["shop_id"], row["day"], row["missing"], row["equal"]) == (SHOP, DAY, 0, True)
    assert len(stored(engine)) == 2
