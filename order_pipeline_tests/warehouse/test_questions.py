"""What BI asks: the example queries run as its role, and its usual questions are answered from indexes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, text

from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.embedded import EmbeddedServer

QUERIES = sorted((Path(__file__).parents[2] / "docs" / "queries").glob("*.sql"))
# One in twenty minutes: more than a year of three shops, enough that reading all of them would be a mistake.
ORDERS = 30_000

FILL = f"""
    INSERT INTO core.orders (shop_id, order_id, platform, status, created_at, paid_at, modified_at, payment, extra,
                             sent_at, source, buyer_open_uid)
    SELECT CASE n % 3 WHEN 0 THEN 'my-shop' WHEN 1 THEN 'other-shop' ELSE 'third-shop' END, n::text, 'taobao',
           CASE WHEN n > {ORDERS} - 300 THEN 'WAIT_SELLER_SEND_GOODS' ELSE 'TRADE_FINISHED' END,
           moment, moment, moment, n % 100, '{{}}', moment, 'detail', 'buyer-' || n % 7000
    FROM generate_series(1, {ORDERS}) n,
         LATERAL (SELECT now() - make_interval(mins => 20 * ({ORDERS} - n)) AS moment) m;
    INSERT INTO core.order_items (shop_id, order_id, item_id, sku_code, quantity, price, payment, status, extra)
    SELECT shop_id, order_id, order_id, 'SKU-' || order_id::int % 2000, 1, 1, 1, status, '{{}}' FROM core.orders;
    ANALYZE core.orders, core.order_items;
"""


@pytest.fixture(scope="module")
def filled(postgres: EmbeddedServer) -> Iterator[Engine]:
    """More than a year of three shops."""
    connection = psycopg2.connect(postgres.url("postgres").replace("+psycopg2", ""))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE questions TEMPLATE template STRATEGY FILE_COPY")
    connection.close()
    engine = connect(postgres.url("questions"))
    with transaction(engine) as opened:
        opened.execute(text(FILL.replace("::", "\\:\\:")))
    yield engine
    engine.dispose()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def explained(engine: Engine, query: str) -> list[dict[str, Any]]:
    """Return the plan's nodes, run as BI's role."""
    with transaction(engine) as connection:
        connection.execute(text("SET LOCAL ROLE bi_reader"))
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}").scalar()
    (whole,) = plan if isinstance(plan, list) else json.loads(str(plan))
    return list(nodes(whole["Plan"]))


LATELY = ">= now() - interval '1 day'"


@pytest.mark.parametrize(
    ("view", "condition", "index", "rows"),
    [
        ("orders", f"created_at {LATELY}", "orders_created", 100),
        ("orders", f"modified_at {LATELY}", "orders_modified", 100),
        ("orders", f"paid_at {LATELY}", "orders_paid", 100),
        ("orders", "status = 'WAIT_SELLER_SEND_GOODS'", "orders_status", 200),
        ("order_items", "sku_code = 'SKU-7'", "order_items_sku", 50),
        ("daily_sales", "day >= current_date - 7", "orders_paid_day", 600),
    ],
    ids=["by day of creation", "by change", "by payment", "by status", "by SKU", "sales by day"],
)
def test_a_question_of_bi_reads_an_index_and_little_else(
    filled: Engine, view: str, condition: str, index: str, rows: int
) -> None:
    plan = explained(filled, f"SELECT * FROM bi.{view} WHERE shop_id = 'my-shop' AND {condition}")
    assert index in {node.get("Index Name") for node in plan}
    assert not [node for node in plan if node["Node Type"] == "Seq Scan"]
    read = max(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in plan if "Relation Name" in node
    )  # fmt: skip
    assert 0 < read <= rows


def test_the_planner_knows_how_many_orders_a_few_days_have(filled: Engine) -> None:
    # It took them for a third of all orders, and of a million orders read every page.
    plan = explained(filled, "SELECT * FROM bi.daily_sales WHERE day >= current_date - 7")
    (orders,) = [node for node in plan if node.get("Index Name") == "orders_paid_day"]
    assert orders["Actual Rows"] / 3 < orders["Plan Rows"] < orders["Actual Rows"] * 3


# 20,000 orders of a season that ended 40 days ago, and 20 in the month since then.
SEASON = """
    TRUNCATE core.orders;
    INSERT INTO core.orders (shop_id, order_id, platform, status, created_at, paid_at, modified_at, extra, sent_at,
                             source)
    SELECT 'my-shop', n::text, 'taobao', 'TRADE_FINISHED', moment, moment, moment, '{}', moment, 'detail'
    FROM generate_series(1, 20020) n,
         LATERAL (SELECT now() - CASE WHEN n <= 20 THEN make_interval(days => n)
                                      ELSE make_interval(days => 40, mins => n) END AS moment) m;
    ANALYZE core.orders;
"""


@pytest.mark.parametrize("moment", ["created_at", "paid_at", "modified_at"])
def test_the_planner_knows_how_few_orders_a_quiet_month_has(filled: Engine, moment: str) -> None:
    # In steps of a hundredth it took them for several times as many, and sent parallel workers.
    with filled.connect() as connection:
        connection.execute(text(SEASON.replace("::", "\\:\\:")))
        plan = connection.execute(
            text(f"EXPLAIN (FORMAT JSON) SELECT * FROM core.orders WHERE {moment} >= now() - interval '30 days'")
        ).scalar_one()
        connection.rollback()
    assert 15 < plan[0]["Plan"]["Plan Rows"] < 60


def test_who_came_back_is_looked_up_buyer_by_buyer(filled: Engine) -> None:
    query = next(path for path in QUERIES if path.stem == "buyers_who_came_back").read_text()
    plan = explained(filled, query.rstrip(";\n"))
    assert "orders_buyer" in {node.get("Index Name") for node in plan}
    assert not [node for node in plan if node["Node Type"] == "Seq Scan"]


@pytest.mark.parametrize("query", QUERIES, ids=lambda path: path.stem)
def test_an_example_query_runs_as_bi(filled: Engine, query: Path) -> None:
    with transaction(filled) as connection:
        connection.execute(text("SET LOCAL ROLE bi_reader"))
        # As a tool sends it: a percent sign or a colon in it means nothing.
        connection.connection.cursor().execute(query.read_text())
    assert query.read_text().startswith("-- ")


def test_there_are_example_queries() -> None:
    assert len(QUERIES) >= 6
