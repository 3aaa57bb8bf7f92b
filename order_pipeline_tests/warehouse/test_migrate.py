"""The schema: made from nothing, said to be old or new, documented for BI."""

from __future__ import annotations

import re

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from order_pipeline.platforms.protocol import Order, OrderItem, Refund
from order_pipeline.warehouse.database import DatabaseUnreachableError, connect, transaction
from order_pipeline.warehouse.embedded import EmbeddedServer
from order_pipeline.warehouse.migrate import MIGRATIONS, SchemaError, require_current, upgrade
from order_pipeline.warehouse.orders import ITEM_COLUMNS, ORDER_COLUMNS
from order_pipeline.warehouse.refunds import REFUND_COLUMNS


def test_a_schema_that_is_current_is_left_alone(engine: Engine) -> None:
    assert upgrade(engine) is None
    require_current(engine)


def test_an_empty_database_is_said_to_need_migrate(postgres: EmbeddedServer) -> None:
    postgres.create_database("empty")
    with pytest.raises(SchemaError, match=r"schema is empty, this version needs .*order-pipeline migrate"):
        require_current(connect(postgres.url("empty")))


def test_a_schema_newer_than_the_code_is_refused(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.alembic_version SET version_num = '9999'"))
    for attempt in (require_current, upgrade):
        with pytest.raises(SchemaError, match=r"9999.*upgrade order_pipeline"):
            attempt(engine)


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    engine = connect("postgresql+psycopg2://me:geheim@127.0.0.1:1/nowhere")
    with pytest.raises(DatabaseUnreachableError) as caught, transaction(engine):
        pass
    assert "127.0.0.1:1/nowhere" in str(caught.value)
    assert "ORDER_PIPELINE_DATABASE_URL" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_the_names_of_the_steps_are_their_revisions() -> None:
    steps = {step.revision: step.path for step in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    assert all(re.search(rf"/{revision}_\w+\.py$", path) for revision, path in steps.items())


def test_every_table_and_column_of_bi_carries_a_comment(engine: Engine) -> None:
    with transaction(engine) as connection:
        bare = connection.execute(
            text("""
                SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
                WHERE n.nspname = 'bi' AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid) IS NULL)
            """)
        ).all()
        views = connection.execute(text("SELECT count(*) FROM pg_views WHERE schemaname = 'bi'")).scalar()
    assert bare == []
    assert views == 16


def test_bi_reader_reads_bi_and_nothing_else(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("SET LOCAL ROLE bi_reader"))
        assert connection.execute(text("SELECT count(*) FROM bi.orders")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM bi.refunds")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM bi.reserved_stock")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM bi.inventory_holds")).scalar() == 0
        for table in ("core.orders", "core.refunds", "core.presale_hold", "raw.page", "sync.watermark"):
            allowed = text("SELECT has_table_privilege('bi_reader', :name, 'SELECT')")
            with transaction(engine) as other:
                assert other.execute(allowed, {"name": table}).scalar() is False


def test_the_platforms_records_hold_every_column_of_the_tables() -> None:
    assert set(ORDER_COLUMNS) | {"items"} == set(Order.__struct_fields__)
    assert set(ITEM_COLUMNS) == set(OrderItem.__struct_fields__)
    assert set(REFUND_COLUMNS) == set(Refund.__struct_fields__)
