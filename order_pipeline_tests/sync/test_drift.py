"""Fields of the wire that change: found in stored answers, told, and over when they are usual again."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from order_pipeline.commands.status import gather
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.drift import EVERY, MOST_UNKNOWN, ODD_NAME, look_for_drift
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.field_counts import open_drifts
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.proving import now_due, pass_over

ORDERS = 80


def found(engine: Engine) -> set[tuple[str, str, str, str]]:
    with transaction(engine) as connection:
        rows = open_drifts(connection, ["demo-shop"])
    return {(row["object"], row["field"], row["drift"], row["kind"]) for row in rows}


def change_all(play: Play, engine: Engine, access: ShopAccess) -> None:
    """Let every order change, and fetch what changed."""
    with transaction(engine) as connection:
        tids = connection.execute(text("SELECT order_id FROM core.orders")).scalars().all()
    for tid in tids:
        play.marketplace.edit_memo("demo-shop", int(tid), "changed")
    play.clock.advance(60)
    now_due(engine)
    pass_over(engine, access)


@pytest.mark.parametrize("play", [{"orders": ORDERS, "days": 2}], indirect=True)
def test_fields_that_are_new_gone_or_of_another_type_are_counted_and_told_until_they_are_not(
    engine: Engine, play: Play
) -> None:
    access = play.access()
    pass_over(engine, access)
    assert look_for_drift(access, engine, play.now) >= ORDERS
    assert found(engine) == set()
    # Between two looks it costs a query.
    play.clock.advance(EVERY.total_seconds() - 1)
    assert look_for_drift(access, engine, play.now) == 0

    play.clock.advance(timedelta(days=1).total_seconds())
    told: dict[str, set[tuple[str, str, str, str]]] = {}
    for kind in ("missing_fields", "ids_as_text", "unknown_field"):
        play.marketplace.faults.switch_on(Fault(name="odd_record", kind=kind))
        play.clock.advance(EVERY.total_seconds())
        change_all(play, engine, access)
        began = time.perf_counter()
        looked_at = look_for_drift(access, engine, play.now)
        print(f"{looked_at} answers looked at in {time.perf_counter() - began:.3f} s")
        told[kind] = found(engine)
    assert ("order", "receiver_city", "vanished", "") in told["missing_fields"]
    assert {drift for _, _, drift, _ in told["missing_fields"]} == {"vanished"}
    assert {("order", "tid", "retyped", "text"), ("order line", "oid", "retyped", "text")} <= told["ids_as_text"]
    assert {drift for _, _, drift, _ in told["ids_as_text"]} == {"retyped"}
    assert told["unknown_field"] == {(name, "sandbox_new_field", "unknown", "") for name in ("order", "order line")}
    (row,) = gather(engine, ["demo-shop"], play.now)["shops"]
    assert (row["fields_changed"], row["fields_unknown"]) == (
        [],
        ["order: sandbox_new_field", "order line: sandbox_new_field"],
    )
    # The rows are there all the same, and what has no column is kept.
    with transaction(engine) as connection:
        kept = connection.execute(text("SELECT count(*) FROM core.orders WHERE extra ? 'sandbox_new_field'")).scalar()
    assert kept == ORDERS

    play.marketplace.faults.clear()
    play.clock.advance(EVERY.total_seconds())
    change_all(play, engine, access)
    assert look_for_drift(access, engine, play.now) >= ORDERS
    assert found(engine) == set()


@pytest.mark.parametrize("play", [{"orders": 40, "days": 2}], indirect=True)
def test_names_that_are_none_and_thousands_of_them_are_counted_and_not_kept_by_name(engine: Engine, play: Play) -> None:
    access = play.access()
    pass_over(engine, access)
    odd = {"\x00": 1, "\ud800": 2, "名称": 3, **{f"id{number}": number for number in range(3 * MOST_UNKNOWN)}}
    # As an answer holds it: escaped.
    piece = json.dumps(odd)[1:-1]
    with transaction(engine) as connection:
        connection.execute(
            text("""UPDATE raw.page SET body = replace(body, '"trade":{', '"trade":{' || :piece || ',')
                    WHERE channel = 'detail'"""),
            {"piece": piece},
        )
    assert look_for_drift(access, engine, play.now) == 40
    unknown = {field for _, field, drift, _ in found(engine) if drift == "unknown"}
    assert ODD_NAME in unknown
    assert 1 < len(unknown) <= MOST_UNKNOWN
