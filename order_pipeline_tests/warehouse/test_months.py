"""Tables by month: made from a table that is full, never refusing a row, and losing none while months come and go."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from order_pipeline.sync.pruning import prune
from order_pipeline.warehouse.database import connect, in_transaction, transaction
from order_pipeline.warehouse.embedded import EmbeddedServer
from order_pipeline.warehouse.messages import MessageRow, store_messages
from order_pipeline.warehouse.migrate import MIGRATIONS, upgrade
from order_pipeline.warehouse.months import LOGS, PAGES, SHANGHAI, adopt_strays, ensure_months, month_of, spans
from order_pipeline.warehouse.raw import RawPage, store_pages
from order_pipeline_tests.warehouse.keeping import EVERYTHING_GOES

SPLITTING = "0012"

# Three months of what each log holds, long before now.
FILLED = """
INSERT INTO raw.page (shop_id, platform, method, channel, window_start, window_end, order_id, request_id, sent_at, body)
SELECT 's', 'taobao', 'm', CASE WHEN n % 3 = 0 THEN 'history' ELSE 'detail' END,
       CASE WHEN n % 3 = 0 THEN moment END, CASE WHEN n % 3 = 0 THEN moment + interval '1 day' END,
       CASE WHEN n % 3 > 0 THEN n::text END, 'r' || n, moment, json_build_object('tid', n, 'words', repeat('x', n))
FROM generate_series(1, 900) n, LATERAL (SELECT timestamptz '2026-01-10+08' + n * interval '2 hours') m (moment);
INSERT INTO raw.message (app_key, message_id, platform, shop_id, topic, known_topic, published_at, received_at, content)
SELECT 'a', n::text, 'taobao', 's', 't', true, moment, moment, '{}'
FROM generate_series(1, 900) n, LATERAL (SELECT timestamptz '2026-01-10+08' + n * interval '2 hours') m (moment);
INSERT INTO sync.call (shop_id, method, started_at, seconds, outcome)
SELECT 's', 'm', timestamptz '2026-01-10 00:00+08' + n * interval '2 hours', n, 'ok' FROM generate_series(1, 900) n
"""
# Everything that a row says, whatever the order of its columns and whichever columns are only ours.
CONTENT = (
    """
    SELECT count(*), md5(string_agg(request_id || sent_at || stored_at || body || coalesce(order_id, '')
                                    || coalesce(window_start::text, ''), ',' ORDER BY request_id)) FROM raw.page
    """,
    """
    SELECT count(*), md5(string_agg(message_id || published_at || stored_at || content, ',' ORDER BY message_id))
    FROM raw.message
    """,
    "SELECT count(*), md5(string_agg(started_at || seconds::text, ',' ORDER BY started_at)) FROM sync.call",
)


def content(connection: Connection) -> list[tuple[int, str]]:
    return [tuple(connection.execute(text(query)).one()) for query in CONTENT]


def alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def before_splitting() -> str:
    before = ScriptDirectory(str(MIGRATIONS)).get_revision(SPLITTING).down_revision
    assert isinstance(before, str)
    return before


@pytest.fixture
def full(postgres: EmbeddedServer) -> Engine:
    """A warehouse just before its logs are split, with three months of rows in each."""
    postgres.create_database("before_months")
    engine = connect(postgres.url("before_months"))
    with transaction(engine) as connection:
        connection.execute(text("CREATE SCHEMA sync"))
        command.upgrade(alembic(connection), before_splitting())
        connection.execute(text(FILLED))
    return engine


def test_a_full_warehouse_is_split_in_place_and_loses_nothing(full: Engine) -> None:
    with transaction(full) as connection:
        held = content(connection)
    assert [rows for rows, _ in held] == [900, 900, 900]

    class StoppedError(Exception):
        """A stop in the middle, such as a full disk or a kill."""

    def upgrade_half() -> None:
        with transaction(full) as connection:
            command.upgrade(alembic(connection), SPLITTING)
            raise StoppedError

    with pytest.raises(StoppedError):
        upgrade_half()
    with transaction(full) as connection:
        assert content(connection) == held
        assert connection.execute(text("SELECT relkind FROM pg_class WHERE oid = 'raw.page'::regclass")).scalar() == "r"

    upgrade(full)
    with transaction(full) as connection:
        assert content(connection) == held
        for log in LOGS:
            names = [span.partition for span in spans(connection, log)]
            # What was there stays where it is, this month's rows go on into it, and next month begins anew.
            assert names[0] == f"{log.table}_before"
            assert len(names) == 2
    assert upgrade(full) is None
    with transaction(full) as connection:
        # Taken back, and done again: by hand, when an upgrade has to be.
        command.downgrade(alembic(connection), before_splitting())
        assert content(connection) == held
    upgrade(full)
    with transaction(full) as connection:
        assert content(connection) == held
    # It goes as a whole once all of it is past its time.
    later = datetime.now(UTC) + timedelta(days=500)
    gone = prune(full, EVERYTHING_GOES, later).gone
    assert {log.table + "_before" for log in LOGS} <= {each.name for each in gone}
    full.dispose()


@pytest.mark.parametrize(
    ("moment", "first", "following"),
    [
        # Half past midnight in Shanghai is still the day before in UTC.
        (datetime(2026, 10, 31, 16, 30, tzinfo=UTC), (2026, 11), (2026, 12)),
        (datetime(2026, 10, 31, 15, 30, tzinfo=UTC), (2026, 10), (2026, 11)),
        (datetime(2026, 12, 31, 23, 0, tzinfo=SHANGHAI), (2026, 12), (2027, 1)),
    ],
)
def test_months_are_those_of_shanghai(moment: datetime, first: tuple[int, int], following: tuple[int, int]) -> None:
    start, end = month_of(moment)
    assert start == datetime(*first, 1, tzinfo=SHANGHAI)
    assert end == datetime(*following, 1, tzinfo=SHANGHAI)


def page(number: int, sent_at: datetime) -> RawPage:
    return RawPage("m", None, None, str(number), f"r{number}", sent_at, "{}")


def test_rows_find_their_month_or_wait_for_it_in_the_default_partition(engine: Engine) -> None:
    now = datetime.now(UTC)
    long_ago = datetime(2020, 5, 31, 23, 59, 59, tzinfo=SHANGHAI)
    with transaction(engine) as connection:
        pages = [page(1, now), page(2, long_ago), page(3, now - timedelta(days=400))]
        store_pages(connection, "s", "taobao", "detail", pages)
        where = "SELECT tableoid::regclass::text, count(*) FROM raw.page GROUP BY 1 ORDER BY 1"
        month = f"raw.page_{month_of(now)[0]:%Y_%m}"
        assert list(map(tuple, connection.execute(text(where)))) == [(month, 1), ("raw.page_default", 2)]
    with transaction(engine) as connection:
        made = adopt_strays(connection, PAGES)
        assert made[0] == "raw.page_2020_05"
        assert len(made) == 2
        assert adopt_strays(connection, PAGES) == []
        assert connection.execute(text("SELECT count(*) FROM raw.page_default")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM raw.page")).scalar() == 3
        # The lookup of the nightly proof touches the one month that it asks for.
        plan = connection.execute(
            text("EXPLAIN SELECT body FROM raw.page WHERE shop_id = 's' AND order_id = '2' AND sent_at = :sent_at"),
            {"sent_at": long_ago},
        )
        assert {
            word for (line,) in plan for word in line.split() if word.startswith("page_2") and "idx" not in word
        } == {"page_2020_05"}


def test_no_row_is_lost_while_months_are_made_and_dropped(engine: Engine) -> None:
    """Writers never stop for it, and a month that is being made takes along what is being written to it."""
    moments = [datetime(2025, month, 15, tzinfo=UTC) for month in range(1, 7)]
    stop, written, failures = threading.Event(), [0, 0], list[Exception]()

    def write_once(writer: int) -> None:
        pages = [page(written[writer], moment) for moment in moments]
        in_transaction(engine, lambda connection: store_pages(connection, f"s{writer}", "taobao", "d", pages))
        written[writer] += len(moments)

    def write(writer: int) -> None:
        try:
            while not stop.is_set():
                write_once(writer)
        except Exception as error:  # noqa: BLE001 - told by the test below
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in writers:
        thread.start()
    made: set[str] = set()
    try:
        while not failures and len(made) < len(moments):
            # Before the end of the first month, so that nothing is past its time but months are made.
            done = prune(engine, EVERYTHING_GOES, moments[0])
            assert done.gone == ()
            made |= {name for name in done.made if name.startswith("raw.page_2025_0") and name < "raw.page_2025_07"}
    finally:
        stop.set()
        for thread in writers:
            thread.join()
    prune(engine, EVERYTHING_GOES, moments[0])
    assert failures == []
    with transaction(engine) as connection:
        counted = dict(map(tuple, connection.execute(text("SELECT shop_id, count(*) FROM raw.page GROUP BY 1"))))
        assert connection.execute(text("SELECT count(*) FROM raw.page_default")).scalar() == 0
    assert counted == {"s0": written[0], "s1": written[1]}


def test_a_message_without_a_time_of_its_own_is_the_same_when_it_comes_again(engine: Engine) -> None:
    told_itself = datetime(2026, 3, 31, tzinfo=UTC)

    def told(received_at: datetime) -> list[MessageRow]:
        return [
            MessageRow("7", None, "t", True, None, None, received_at, received_at, None, None, "{}", None),
            # This one has its own.
            MessageRow("8", None, "t", True, None, None, told_itself, received_at, None, None, "{}", None),
        ]

    # Over the end of a month, so that the two deliveries would lie in two partitions.
    first, second = datetime(2026, 3, 31, 15, 59, tzinfo=UTC), datetime(2026, 3, 31, 16, 5, tzinfo=UTC)
    with transaction(engine) as connection:
        ensure_months(connection, first)
        assert store_messages(connection, "a", "taobao", told(first)) == {"7", "8"}
        assert store_messages(connection, "a", "taobao", told(second)) == set()
        found = connection.execute(text("SELECT message_id, published_at, deliveries FROM raw.message ORDER BY 1"))
        held = [tuple(row) for row in found]
    assert held == [("7", first, 2), ("8", told_itself, 2)]


# Unique keys that begin otherwise, and why the tables can be distributed by shop_id all the same. Where a row is
# numbered by the database and has its shop beside the number, (shop_id, number) serves as well.
OF_AN_APP = "a row an app key, whose shops share it: small, kept whole on every node"
OF_THE_WHOLE = "of the whole installation: small, kept whole on every node"
OTHERWISE = {
    "raw.message": "the platform numbers messages by app key, and a message may be of no shop of ours",
    "core.bundle_part": OF_THE_WHOLE,
    "core.purchase": "the number of the suggestion, whose row is of the same shop",
    "core.supplier_item": OF_THE_WHOLE,
    "sync.alembic_version": OF_THE_WHOLE,
    "sync.hook_event": OF_THE_WHOLE,
    "sync.merchant_file": OF_THE_WHOLE,
    "sync.notice": OF_THE_WHOLE,
    "sync.notice_sink": OF_THE_WHOLE,
    "sync.rate_budget": OF_AN_APP,
    "sync.breaker": OF_AN_APP,
    "sync.breaker_count": OF_AN_APP,
    "sync.breaker_change": OF_AN_APP,
    "sync.message_queue": OF_AN_APP,
    "sync.message_seller": OF_AN_APP,
}


def test_every_unique_key_begins_with_the_shop_so_that_tables_can_be_distributed_by_it(engine: Engine) -> None:
    with transaction(engine) as connection:
        keys = connection.execute(
            text("""
                SELECT n.nspname || '.' || c.relname, a.attname, a.attidentity <> '' AND EXISTS (
                           SELECT FROM pg_attribute s WHERE s.attrelid = c.oid AND s.attname = 'shop_id')
                FROM pg_index i
                JOIN pg_class c ON c.oid = i.indrelid AND NOT c.relispartition
                JOIN pg_namespace n ON n.oid = c.relnamespace
                LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                WHERE i.indisunique AND n.nspname IN ('raw', 'core', 'sync', 'bi', 'personal')
            """)
        ).all()
    assert len(keys) > 20
    others = {table for table, first, is_number in keys if first != "shop_id" and not is_number}
    assert sorted(others - OTHERWISE.keys()) == []
    assert sorted(OTHERWISE.keys() - others) == []
