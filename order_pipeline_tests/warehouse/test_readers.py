"""Those who read: BI, those who may see addressees, nobody else. Over the catalogue, so that what comes is held."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from order_pipeline.commands.dictionary import data_dictionary
from order_pipeline.sync.enrichment import drain
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.dictionary import READERS, read_schema
from order_pipeline.warehouse.receivers import forget_orders, forget_shop, orders_of_buyer
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.people import personal_values
from order_pipeline_tests.proving import now_due, pass_over, proof

DICTIONARY = Path(__file__).parents[2] / "docs" / "data-dictionary.md"

RELATIONS = text("""
    SELECT n.nspname, format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ORDER BY 2
""")


def relations(engine: Engine) -> list[tuple[str, str]]:
    with transaction(engine) as connection:
        return [(schema, name) for schema, name in connection.execute(RELATIONS)]


@pytest.fixture(params=sorted(READERS))
def schema(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def reader(engine: Engine, warehouse_url: str, schema: str) -> Iterator[Engine]:
    """A login of its own that inherits from the schema's reader, as a BI tool connects."""
    login = f"tool_of_{schema}"
    with transaction(engine) as connection:
        connection.execute(text(f"DROP ROLE IF EXISTS {login}"))
        connection.execute(text(f"CREATE ROLE {login} LOGIN IN ROLE {READERS[schema]}"))
    engine_of_tool = connect(make_url(warehouse_url).set(username=login).render_as_string(hide_password=False))
    yield engine_of_tool
    engine_of_tool.dispose()


def refused(engine: Engine, statement: str) -> bool:
    try:
        with transaction(engine) as connection:
            connection.execute(text(statement))
    except ProgrammingError as error:
        return "permission denied" in str(error.orig)
    return False


def test_a_reader_reads_all_of_its_schema_and_nothing_else(engine: Engine, reader: Engine, schema: str) -> None:
    found = relations(engine)
    assert {schema for schema, _ in found} >= {"bi", "core", "personal", "raw", "sync"}
    for of_schema, name in found:
        assert refused(reader, f"SELECT * FROM {name} LIMIT 1") is (of_schema != schema), name


def test_a_reader_writes_nothing(reader: Engine) -> None:
    with transaction(reader) as connection:
        writable = connection.execute(
            text("""
                SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname !~ '^pg_'
                  AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
            """)
        ).all()
    assert writable == []
    for schema in ("bi", "core", "personal", "public"):
        assert refused(reader, f"CREATE TABLE {schema}.mine (a int)"), schema


def test_every_relation_and_column_for_readers_carries_a_comment(engine: Engine, schema: str) -> None:
    with transaction(engine) as connection:
        held = read_schema(connection, schema)
    assert held.comment
    assert held.relations
    bare = [each.name for each in held.relations if not each.comment]
    bare += [f"{each.name}.{column.name}" for each in held.relations for column in each.columns if not column.comment]
    assert bare == [], f"say in a migration what these are: COMMENT ON ... {bare}"


def test_the_data_dictionary_is_current(engine: Engine) -> None:
    assert DICTIONARY.read_text() == data_dictionary(engine), (
        "docs/data-dictionary.md is not what the database says; run: order-pipeline dictionary --out "
        "docs/data-dictionary.md"
    )


@pytest.mark.parametrize("play", [{"orders": 60}], indirect=True)
def test_addressees_are_kept_where_a_shop_says_so_and_only_in_their_schema(engine: Engine, play: Play) -> None:
    access = play.access(keep_personal_data=True)
    pass_over(engine, access)
    people = personal_values(play.marketplace)
    with transaction(engine) as connection:
        kept = {row.order_id: row for row in connection.execute(text("SELECT * FROM personal.order_receiver"))}
    assert kept.keys() == people.keys()
    for order_id, row in kept.items():
        said = people[order_id]
        assert (row.buyer_nick, row.name, row.mobile) == (
            said["buyer_nick"], said["receiver_name"], said["receiver_mobile"]
        )  # fmt: skip
        assert (row.address, row.oaid) == (said["receiver_address"], said["oaid"])
    with transaction(engine) as connection:
        for schema, name in relations(engine):
            if schema != "personal":
                rows = connection.execute(text(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {name} t"))
                held = str(rows.scalar())
                leaked = {value for said in people.values() for value in said.values() if value in held}
                assert not leaked, name
    # And with its answers split, the order is still what the platform has, and can be proven from what is stored.
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples


@pytest.mark.parametrize("play", [{"orders": 20}], indirect=True)
def test_a_shop_that_does_not_say_so_keeps_no_addressee(engine: Engine, play: Play) -> None:
    pass_over(engine, play.access())
    with transaction(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM core.orders")).scalar() == 20
        assert connection.execute(text("SELECT count(*) FROM personal.order_receiver")).scalar() == 0


@pytest.mark.parametrize("play", [{"orders": 20}], indirect=True)
def test_who_was_forgotten_does_not_come_back_with_the_next_change(engine: Engine, play: Play) -> None:
    access = play.access(keep_personal_data=True)
    pass_over(engine, access)
    with transaction(engine) as connection:
        buyer = str(connection.execute(text("SELECT min(buyer_open_uid) FROM core.orders")).scalar())
        theirs = orders_of_buyer(connection, "demo-shop", buyer)
        assert theirs
        assert forget_orders(connection, "demo-shop", theirs) == len(theirs)
        assert forget_orders(connection, "demo-shop", theirs) == 0
    for tid in theirs:
        play.marketplace.edit_memo("demo-shop", int(tid), "again")
    play.clock.advance(30)
    pass_over(engine, access)
    now_due(engine)
    drain(access, engine)
    with transaction(engine) as connection:
        rows = connection.execute(
            text("SELECT * FROM personal.order_receiver WHERE order_id = ANY(:ids)"), {"ids": theirs}
        ).mappings()
        kept = [[value for name, value in row.items() if value is not None and name not in NAMELESS] for row in rows]
        assert kept == [[]] * len(theirs)
        assert forget_shop(connection, "demo-shop") == 20


NAMELESS = {"shop_id", "order_id", "modified_at", "sent_at", "forgotten_at"}


SNAPSHOT = text("""
    SELECT f.complete_until,
           (SELECT count(*) FROM bi.orders o WHERE NOT EXISTS (
               SELECT FROM bi.order_items i WHERE i.shop_id = o.shop_id AND i.order_id = o.order_id)) AS bare,
           (SELECT count(*) FROM bi.orders) AS orders,
           (SELECT count(*) FROM bi.orders WHERE seller_flag = 5) AS flagged,
           (SELECT coalesce(sum(orders), 0) FROM bi.daily_sales) = (SELECT count(paid_at) FROM bi.orders) AS sums_agree
    FROM (SELECT 1) one LEFT JOIN bi.freshness f ON f.subject = 'orders'
""")


def look(connection: Connection) -> tuple[object, ...]:
    return tuple(connection.execute(SNAPSHOT).one())


@pytest.mark.parametrize("play", [{"orders": 400}], indirect=True)
@pytest.mark.parametrize("schema", ["bi"])
def test_a_reader_sees_no_half_order_and_is_never_told_that_half_a_window_is_all(
    engine: Engine, reader: Engine, play: Play
) -> None:
    # Pages of 20 make a window of 20 pages, which land in two transactions.
    access = play.access(20)
    pass_over(engine, access)
    with play.marketplace.looking():
        tids = [trade.tid for trade, _ in play.marketplace.ledger("demo-shop").versions()]
    for tid in tids:
        play.marketplace.touch("demo-shop", tid, seller_flag=5)
    changed_at = play.now
    play.clock.advance(30)
    done = threading.Event()
    seen: set[tuple[object, ...]] = set()

    def read() -> None:
        while not done.is_set():
            with transaction(reader) as connection:
                seen.add(look(connection))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        pass_over(engine, access)
    finally:
        done.set()
        thread.join()
    with transaction(reader) as connection:
        seen.add(look(connection))
    assert len(seen) > 1
    for complete_until, bare, orders, flagged, sums_agree in seen:
        assert bare == 0
        assert orders == 400
        assert sums_agree
        # Said to be complete only when the whole window is there.
        assert complete_until is not None
        assert complete_until <= changed_at or flagged == 400  # type: ignore[operator]
    assert {row[3] for row in seen} >= {400}
