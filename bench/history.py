"""A long history by SQL: what a shop of years has in its tables, made in minutes from orders that were really loaded.

Belongs here: filling. Not here: measuring (growth.py).
"""

from __future__ import annotations

from sqlalchemy import Engine, text

from order_pipeline.warehouse.database import transaction

# Statements of so many orders each, so that a stop loses little and memory stays flat.
PER_STATEMENT = 100_000
# Invented ids lie below all that a sandbox gives, so that the two never meet.
FIRST_ID = 10**14
# The invented history ends before the orders that are measured begin, and goes back three years.
NEWEST_DAYS, SPAN_DAYS = 40, 1_060

# A bench's database may lose everything at a power cut: it is thrown away.
UNSAFE = (
    "ALTER SYSTEM SET fsync = off",
    "ALTER SYSTEM SET full_page_writes = off",
    "ALTER SYSTEM SET synchronous_commit = off",
    "ALTER SYSTEM SET max_wal_size = '4GB'",
    "SELECT pg_reload_conf()",
)


def hurry(engine: Engine) -> None:
    """Let the server write without care."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in UNSAFE:
            connection.execute(text(statement))


def fill(engine: Engine, shop_id: str, begin: int, end: int) -> None:
    """Add the orders numbered from ``begin`` to before ``end`` to a shop, with lines and values of loaded ones."""
    for start in range(begin, end, PER_STATEMENT):
        _fill(engine, shop_id, start, min(start + PER_STATEMENT, end))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in ("core.orders", "core.order_items", "raw.page", "sync.history_day"):
            connection.execute(text(f"VACUUM ANALYZE {table}"))


def _fill(engine: Engine, shop_id: str, begin: int, end: int) -> None:
    values = {"shop_id": shop_id, "begin": begin, "end": end, "first": FIRST_ID}
    with transaction(engine) as connection:
        connection.execute(
            text("""
                CREATE TEMP TABLE IF NOT EXISTS model ON COMMIT DROP AS
                SELECT row_number() OVER () - 1 AS number, * FROM core.orders
                WHERE shop_id = :shop_id AND source = 'detail' AND length(order_id) > 15
            """),
            values,
        )
        # One in so many of three years' days, the same for all its times.
        connection.execute(
            text(f"""
                CREATE TEMP TABLE invented ON COMMIT DROP AS
                SELECT (:first + n)::text AS new_id, m.order_id AS old_id, m.created_at AS old_created,
                       m.created_at - make_interval(days => {NEWEST_DAYS} + n % {SPAN_DAYS} * 7919 % {SPAN_DAYS})
                       AS new_created
                FROM generate_series(cast(:begin AS integer), cast(:end AS integer) - 1) n
                JOIN model m ON m.number = n % (SELECT count(*) FROM model)
            """),
            values,
        )
        connection.execute(text("ANALYZE invented"))
        for table in ("core.orders", "core.order_items"):
            columns = _columns(engine, table)
            connection.execute(
                text(
                    f"INSERT INTO {table} ({', '.join(name for name, _ in columns)}) "
                    f"SELECT {', '.join(_invented(name, kind) for name, kind in columns)} "
                    f"FROM invented i JOIN {table} t ON t.shop_id = :shop_id AND t.order_id = i.old_id"
                ),
                values,
            )
        # Bodies are left short: what grows with history is rows and indexes; bench/disk.py weighs whole ones.
        connection.execute(
            text("""
                INSERT INTO raw.page (shop_id, platform, method, channel, order_id, request_id, sent_at, body)
                SELECT t.shop_id, t.platform, 'taobao.trade.fullinfo.get', 'detail', i.new_id, md5(i.new_id),
                       t.sent_at - (i.old_created - i.new_created), '{}'
                FROM invented i JOIN core.orders t ON t.shop_id = :shop_id AND t.order_id = i.old_id
            """),
            values,
        )
        connection.execute(
            text("""
                INSERT INTO sync.history_day (shop_id, day, orders)
                SELECT :shop_id, (new_created AT TIME ZONE 'Asia/Shanghai')::date, count(*) FROM invented GROUP BY 2
                ON CONFLICT (shop_id, day) DO UPDATE SET orders = sync.history_day.orders + excluded.orders
            """),
            values,
        )


def _columns(engine: Engine, table: str) -> list[tuple[str, str]]:
    with transaction(engine) as connection:
        rows = connection.execute(
            text("""
                SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
                WHERE attrelid = cast(:table AS regclass) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
            """),
            {"table": table},
        )
        return [(name, kind) for name, kind in rows]


def _invented(name: str, kind: str) -> str:
    if name == "order_id":
        return "i.new_id"
    # Years old, so over: what waits to be sent does not grow with the years.
    if name == "status":
        return "'TRADE_FINISHED'"
    if name == "shipped_at":
        return "coalesce(t.shipped_at, i.old_created) - (i.old_created - i.new_created)"
    if kind == "timestamp with time zone" and name != "stored_at":
        return f"t.{name} - (i.old_created - i.new_created)"
    return f"t.{name}"
