"""Quarantined records tried again: loaded through the same merge, settled only when they are in the tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from order_pipeline.sandbox.fault_catalogue import ODDITIES
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.replay import Result, UnknownRecordError, discard, replay
from order_pipeline.warehouse.copying import as_json
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.quarantine import QuarantinedRecord, open_records, quarantine
from order_pipeline.warehouse.worklist import depth
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.proving import pass_over, proof

SHOP = "demo-shop"
DETAIL = "taobao.trade.fullinfo.get"
LISTS = "taobao.trades.sold.get"


def execute(engine: Engine, statement: str, **values: object) -> Any:
    with transaction(engine) as connection:
        result = connection.execute(text(statement), values)
        return result.all() if result.returns_rows else None


def open_ids(engine: Engine) -> list[int]:
    with transaction(engine) as connection:
        return sorted(record["quarantine_id"] for record in open_records(connection, None))


def poisoned(play: Play, engine: Engine, method: str, kind: str = "money_text") -> ShopAccess:
    """A first load in which some records of one method could not be read."""
    access = play.access()
    play.marketplace.faults.switch_on(Fault("poison", method=method, rate=0.03, seed=3, kind=kind))
    pass_over(engine, access)
    play.marketplace.faults.clear()
    return access


def mend(engine: Engine) -> None:
    """Stand in for a parser that has learnt to read them: the amounts become the ones that the list has."""
    listed = {}
    for (body,) in execute(engine, "SELECT body FROM raw.page WHERE order_id IS NULL AND channel = 'history'"):
        for trade in json.loads(body)["trades_sold_get_response"].get("trades", {}).get("trade", []):
            listed[trade["tid"]] = trade["payment"], {line["oid"]: line["payment"] for line in trade["orders"]["order"]}
    for number, body in execute(engine, "SELECT quarantine_id, body FROM sync.quarantine WHERE resolved_at IS NULL"):
        trade = json.loads(body)
        trade["payment"], lines = listed[trade["tid"]]
        for line in trade["orders"]["order"]:
            line["payment"] = lines[line["oid"]]
        mended = json.dumps(trade)
        execute(engine, "UPDATE sync.quarantine SET body = :body WHERE quarantine_id = :id", body=mended, id=number)


def test_details_that_can_be_read_by_now_are_loaded_without_a_call(engine: Engine, play: Play) -> None:
    access = poisoned(play, engine, DETAIL)
    held = open_ids(engine)
    assert held
    mend(engine)
    calls = play.marketplace.statistics()["calls"]
    assert {replay(engine, number).result for number in held} == {Result.LOADED}
    assert play.marketplace.statistics()["calls"] == calls
    assert open_ids(engine) == []
    with transaction(engine) as connection:
        assert depth(connection, SHOP).unavailable == 0
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples
    ((resolution, by),) = execute(engine, "SELECT DISTINCT resolution, resolved_by FROM sync.quarantine")
    assert resolution == "replayed: its order is in the tables"
    assert "@" in by
    assert replay(engine, held[0]).result is Result.SETTLED_BEFORE


@pytest.mark.parametrize("method", [DETAIL, LISTS])
def test_what_still_cannot_be_read_has_its_order_fetched_by_the_next_pass(
    engine: Engine, play: Play, method: str
) -> None:
    access = poisoned(play, engine, method)
    if method == LISTS:
        # Their details came and settled them; as if they had not.
        execute(engine, "UPDATE sync.quarantine SET resolved_at = NULL, modified_at = modified_at + interval '1 day'")
    held = open_ids(engine)
    assert held
    outcomes = [replay(engine, number) for number in held]
    assert {each.result for each in outcomes} == {Result.WOKEN}
    assert all("payment" in each.said and str(each.record_id) in each.said for each in outcomes)
    assert open_ids(engine) == held
    assert drain(access, engine).drained.fetched == len(held)
    if method == DETAIL:
        assert open_ids(engine) == []
        found = proof(engine, access, play.server.url)
        assert found.equal, found.examples


def test_a_record_that_names_no_order_stays_open_and_says_so(engine: Engine) -> None:
    with transaction(engine) as connection:
        record = QuarantinedRecord(None, None, "a str instead of a trade", '"nonsense"', datetime.now(UTC))
        quarantine(connection, SHOP, "taobao", "history", [record])
    (number,) = open_ids(engine)
    outcome = replay(engine, number)
    assert outcome.result is Result.REFUSED
    assert outcome.is_open
    assert "the proof of its day has to find it" in outcome.said


@pytest.mark.parametrize("body", ["", "{", "null", "[1]", '{"order_id": 5}', '{"tid": "x"}', "[" * 100_000])
def test_no_body_whatever_breaks_a_replay(engine: Engine, body: str) -> None:
    with transaction(engine) as connection:
        quarantine(connection, SHOP, "taobao", "detail", [QuarantinedRecord("1", None, "x", body, datetime.now(UTC))])
    assert replay(engine, open_ids(engine)[0]).result is Result.WOKEN


def test_an_older_record_never_overwrites_what_is_newer(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    ((order_id, modified),) = execute(engine, "SELECT order_id, modified_at FROM core.orders LIMIT 1")
    ((body,),) = execute(engine, "SELECT body FROM raw.page WHERE order_id = :id LIMIT 1", id=order_id)
    trade = json.loads(body)["trade_fullinfo_get_response"]["trade"]
    older = trade | {"modified": "2026-01-01 00:00:00", "seller_memo": "old", "status": "TRADE_CLOSED"}
    with transaction(engine) as connection:
        # Its time could not be read then; today's parser reads it.
        record = QuarantinedRecord(order_id, modified + timedelta(days=1), "x", json.dumps(older), modified)
        quarantine(connection, SHOP, "taobao", "detail", [record])
    assert replay(engine, open_ids(engine)[0]).result is Result.LOADED
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_an_order_that_the_warehouse_refused_is_tried_as_the_order_it_was(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    ((order_id,),) = execute(engine, "SELECT order_id FROM core.orders ORDER BY order_id LIMIT 1")
    detail = access.platform.order(order_id)
    assert detail.order is not None
    fields = {name: getattr(detail.order, name) for name in detail.order.__struct_fields__}
    items = [{name: getattr(item, name) for name in item.__struct_fields__} for item in detail.order.items]
    too_many = as_json(fields | {"items": [item | {"quantity": 10**12} for item in items]})
    execute(engine, "DELETE FROM core.orders WHERE order_id = :id", id=order_id)
    execute(engine, "DELETE FROM core.order_items WHERE order_id = :id", id=order_id)
    with transaction(engine) as connection:
        record = QuarantinedRecord(order_id, detail.order.modified_at, "refused", too_many, detail.answer.sent_at)
        quarantine(connection, SHOP, "taobao", "detail", [record])
    (number,) = open_ids(engine)
    outcome = replay(engine, number)
    assert outcome.result is Result.WOKEN
    assert "refused by the warehouse" in outcome.said
    assert "integer" in outcome.said
    # The column is wider by now, so to speak.
    execute(engine, "UPDATE sync.quarantine SET body = :body", body=as_json(fields | {"items": items}))
    assert replay(engine, number).result is Result.LOADED
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


def test_a_body_of_another_order_is_not_loaded(engine: Engine, play: Play) -> None:
    access = poisoned(play, engine, DETAIL)
    mend(engine)
    first, second = open_ids(engine)[:2]
    execute(
        engine,
        "UPDATE sync.quarantine SET body = (SELECT body FROM sync.quarantine WHERE quarantine_id = :b) "
        "WHERE quarantine_id = :a",
        a=first,
        b=second,
    )
    assert "its body is of another order" in replay(engine, first).said
    assert first in open_ids(engine)
    assert access.calls.total > 0


def test_a_discarded_record_is_settled_by_name_and_stays_so_when_it_comes_again(engine: Engine) -> None:
    record = QuarantinedRecord("1", None, "x", "{}", datetime.now(UTC))

    def come() -> None:
        with transaction(engine) as connection:
            quarantine(connection, SHOP, "taobao", "detail", [record])

    come()
    (number,) = open_ids(engine)
    assert discard(engine, number, "a test order of the platform's").result is Result.DISCARDED
    come()
    assert open_ids(engine) == []
    ((resolution, by, seen),) = execute(engine, "SELECT resolution, resolved_by, times_seen FROM sync.quarantine")
    assert resolution == "discarded: a test order of the platform's"
    assert "@" in by
    assert seen == 2
    assert discard(engine, number, "again").result is Result.SETTLED_BEFORE
    with pytest.raises(UnknownRecordError, match="quarantine list"):
        discard(engine, number + 1, "nothing there")


@pytest.mark.parametrize(
    "kind", [kind for kind in ODDITIES if kind not in ("bad_date", "absurd_numbers", "text_for_list")]
)
def test_records_unlike_the_documentation_load_all_the_same(engine: Engine, play: Play, kind: str) -> None:
    """New fields, new words, numbers as text and text as numbers are no reason to refuse an order."""
    access = play.access()
    play.marketplace.faults.switch_on(
        # Of ten megabytes each a few will do.
        Fault("odd_record", rate=1.0 if kind != "huge_field" else 0.005, seed=4, kind=kind)
    )
    pass_over(engine, access)
    assert play.marketplace.faults.struck["odd_record"] > 0
    assert open_ids(engine) == []
    assert execute(engine, "SELECT count(*), count(detail_modified_at) FROM core.orders") == [(300, 300)]
    if kind == "unknown_field":
        kept = "SELECT count(*) FROM core.orders WHERE extra::text LIKE '%sandbox_new_field%'"
        assert execute(engine, kept) == [(300,)]
