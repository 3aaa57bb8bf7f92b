"""Each fault of the wire, judged by one oracle: after it and a few ordinary passes the tables equal the platform."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from order_pipeline.platforms.taobao.platform import TaobaoCredentials, TaobaoPlatform
from order_pipeline.platforms.taobao.transport import Limits
from order_pipeline.sandbox.fault_catalogue import CATALOGUE
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.access import ShopAccess
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import CallError
from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.conftest import QUICK_RETRY, Play
from order_pipeline_tests.proving import pass_over, proof

SHOP = "demo-shop"
INCREMENTS = "taobao.trades.sold.increment.get"
DETAIL = "taobao.trade.fullinfo.get"

FAULTS = [
    Fault("http_error", rate=0.3, seed=1),
    Fault("html", rate=0.3, seed=2),
    Fault("empty_body", rate=0.3, seed=3),
    Fault("truncated", rate=0.3, seed=4),
    Fault("truncated_gzip", rate=0.5, seed=5),
    Fault("short_body", rate=0.3, seed=6),
    Fault("connection_reset", rate=0.3, seed=7, kind="before"),
    Fault("connection_reset", rate=0.3, seed=8, kind="midway"),
    Fault("slow_body", rate=0.05, seed=9, milliseconds=100, kind="trickle", count=3),
    Fault("slow_body", rate=0.05, seed=10, kind="silence", count=3),
    Fault("latency", rate=0.1, seed=11, milliseconds=150),
    Fault("isp", rate=0.3, seed=12),
    Fault("ban", rate=0.02, seed=13, seconds=1, count=3),
    Fault("session_expired", rate=0.02, seed=14),
    Fault("batch_refused", rate=0.3, seed=24, kind="too_many"),
    Fault("batch_refused", seed=25, kind="permission"),
    Fault("batch_mixed_up", rate=0.3, seed=26, kind="fewer"),
    Fault("batch_mixed_up", rate=0.3, seed=27, kind="reordered"),
    Fault("wrong_total", rate=0.5, seed=15),
    Fault("has_next_forever", rate=0.3, seed=16),
    Fault("repeated_page", rate=0.3, seed=17),
    Fault("empty_page", rate=0.3, seed=18, kind="page"),
    Fault("stale_list", rate=0.5, seed=19, seconds=120),
    Fault("stale_detail", rate=0.5, seed=20, seconds=90),
    Fault("arrival_delay", rate=0.3, seed=21, seconds=200),
    Fault("control_characters", rate=0.3, seed=22),
    *(Fault("odd_record", rate=0.05, seed=23, kind=kind) for kind in (
        "unknown_value", "unknown_field", "ids_as_text", "numbers_as_text", "money_as_number", "null_values",
        "missing_fields", "bad_date", "absurd_numbers", "text_for_list",
    )),
    # Of ten megabytes each a few will do.
    Fault("odd_record", rate=0.02, seed=23, kind="huge_field"),
]  # fmt: skip


def impatient(play: Play, page_size: int) -> ShopAccess:
    """A door whose deadlines fit a test: a body that trickles ends after a second."""
    shop, calls = play.shop(), CallLog()
    credentials = TaobaoCredentials(
        shop_id=shop.id,
        gateway_url=shop.gateway_url,
        app_key=shop.app_key,
        app_secret=shop.app_secret,
        session_key=shop.session_key,
    )
    limits = Limits(connect_seconds=1, read_seconds=0.7, total_seconds=1.0)
    platform = TaobaoPlatform(
        credentials, calls, clock=lambda: play.now, page_size=page_size, retry=QUICK_RETRY, limits=limits
    )
    return ShopAccess(shop, platform, calls)


def wake(engine: Engine) -> None:
    """Let what was put back be due: those waits are minutes, by the database's clock."""
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.pending_order SET due_at = now() WHERE due_at < 'infinity'"))


def changes(play: Play, number: int) -> None:
    with play.marketplace.looking():
        known = [trade.tid for trade, _ in play.marketplace.ledger(SHOP).versions()]
    for tid in known[number::17]:
        play.marketplace.edit_memo(SHOP, tid, f"pass {number}")
    play.marketplace.place_order(SHOP, lives=True)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.name}-{fault.kind}".rstrip("-"))
def test_after_the_fault_the_tables_equal_the_platform(engine: Engine, play: Play, fault: Fault) -> None:
    # The changes of a pass fall into one second: with small pages that second has to be counted and paged through.
    page_size = 5 if fault.name in {"wrong_total", "repeated_page"} else 100
    # Where nothing is wrong an answer may take as long as the machine wants.
    patient = play.access(page_size)
    pass_over(engine, patient)
    access = impatient(play, page_size)
    play.marketplace.faults.switch_on(fault)
    said = []
    for number in range(6):
        changes(play, number)
        play.clock.advance(45)
        try:
            pass_over(engine, access)
        except CallError as error:
            said.append(str(error))
        wake(engine)
    # Every failure says what was tried and whether a retry helps.
    assert all("failed: " in sentence and "a retry" in sentence for sentence in said)
    assert play.marketplace.faults.struck[fault.name] > 0
    play.marketplace.faults.clear()
    for _ in range(3):
        play.clock.advance(100)
        wake(engine)
        pass_over(engine, patient)
    if CATALOGUE[fault.name].strikes == "records":
        _change_every_order(play)
        play.clock.advance(60)
        pass_over(engine, patient)
    found = proof(engine, patient, play.server.url)
    assert found.equal, found.examples


def _change_every_order(play: Play) -> None:
    """Change every order: what the platform spoilt in an answer is believed, or kept apart, until it says otherwise."""
    with play.marketplace.looking():
        known = [trade.tid for trade, _ in play.marketplace.ledger(SHOP).versions()]
    for tid in known:
        play.marketplace.edit_memo(SHOP, tid, "once more")


@pytest.mark.parametrize("play", [{"orders": 5_000}], indirect=True)
def test_five_thousand_orders_that_change_in_one_second_are_all_found(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    play.clock.advance(60)
    _change_every_order(play)
    play.clock.advance(60)
    pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples
    assert found.orders == 5_000


def test_a_list_that_says_it_is_empty_is_healed_by_the_overlap(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    changes(play, 0)
    play.clock.advance(30)
    play.marketplace.faults.switch_on(Fault("empty_page", method=INCREMENTS, kind="list", count=2))
    pass_over(engine, access)
    for _ in range(2):
        play.clock.advance(60)
        pass_over(engine, access)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_a_detail_that_stays_behind_its_list_is_retried_and_then_given_up_with_the_list_kept(
    engine: Engine, play: Play
) -> None:
    access = play.access()
    pass_over(engine, access)
    play.marketplace.faults.switch_on(Fault("stale_detail", seconds=86_400))
    changes(play, 3)
    for _ in range(12):
        play.clock.advance(60)
        pass_over(engine, access)
        wake(engine)
    with transaction(engine) as connection:
        waiting = connection.execute(
            text(
                "SELECT count(*), count(*) FILTER (WHERE due_at = 'infinity'), min(last_problem) "
                "FROM sync.pending_order"
            )
        ).one()
    assert waiting[0] == waiting[1] > 0
    assert "older than the list said" in waiting[2]


def test_a_ban_is_obeyed_and_nothing_is_asked_meanwhile(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    changes(play, 1)
    play.clock.advance(60)
    play.marketplace.faults.switch_on(Fault("ban", seconds=31_062, count=1))
    with pytest.raises(CallError, match=r"310[56]\d"):
        pass_over(engine, access)
    assert access.calls.failed <= 2
