"""COPY: whatever a value holds, the table holds the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from order_pipeline.warehouse.copying import copy_binary, copy_rows
from order_pipeline.warehouse.database import transaction

# Without what no Postgres text can hold.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    ["\\N", "\\.", "a\tb", "a\nb", "a\rb", "\\", "\\\\n", "", "明前龙井"]
)
MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=8))])).filter(
    # The driver reads none of the first and the last year in every time zone.
    lambda moment: 1 < moment.year < 9999
)
MONEY = st.decimals(-(10**15), 10**15, places=2)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
OBJECTS = st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans() | st.none(), max_size=3)

COLUMNS = ("text", "moment", "money", "number", "share", "flag", "object")
TYPES = ("text", "timestamptz", "numeric(18, 2)", "bigint", "double precision", "boolean", "jsonb")
ROWS = st.lists(
    st.tuples(
        TEXTS | st.none(),
        MOMENTS | st.none(),
        MONEY | st.none(),
        NUMBERS | st.none(),
        st.floats(allow_nan=False) | st.none(),
        st.booleans() | st.none(),
        OBJECTS | st.none(),
    ),
    max_size=8,
)
EACH_ON_A_CLEAN_TABLE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@EACH_ON_A_CLEAN_TABLE
@given(rows=ROWS)
def test_what_is_copied_is_what_the_table_holds(engine: Engine, rows: list[tuple[object, ...]]) -> None:
    with transaction(engine) as connection:
        described = ", ".join(f"{name} {type_}" for name, type_ in zip(COLUMNS, TYPES, strict=True))
        connection.execute(text(f"CREATE TEMP TABLE copied ({described}, id serial) ON COMMIT DROP"))
        copy_rows(connection, "copied", COLUMNS, rows)
        held = connection.execute(text(f"SELECT {', '.join(COLUMNS)} FROM copied ORDER BY id")).all()
    assert [tuple(row) for row in held] == rows


def test_values_of_several_types_may_stand_in_one_column(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("CREATE TEMP TABLE copied (value text, id serial) ON COMMIT DROP"))
        copy_rows(connection, "copied", ["value"], [("a\tb",), (7,), (None,), (Decimal("1.20"),), (True,)])
        held = connection.execute(text("SELECT value FROM copied ORDER BY id")).scalars().all()
    assert held == ["a\tb", "7", None, "1.20", "t"]


@EACH_ON_A_CLEAN_TABLE
@given(rows=st.lists(st.tuples(TEXTS | st.none(), MOMENTS | st.none()), max_size=8))
def test_what_is_copied_in_binary_is_what_the_table_holds(
    engine: Engine, rows: list[tuple[str | None, datetime | None]]
) -> None:
    with transaction(engine) as connection:
        connection.execute(text("CREATE TEMP TABLE copied (body text, moment timestamptz, id serial) ON COMMIT DROP"))
        copy_binary(connection, "copied", ["body", "moment"], rows)
        held = connection.execute(text("SELECT body, moment FROM copied ORDER BY id")).all()
    assert [tuple(row) for row in held] == rows


def test_a_long_text_is_copied_whole_in_binary(engine: Engine) -> None:
    body = "龙井\\t\n" * 100_000
    with transaction(engine) as connection:
        connection.execute(text("CREATE TEMP TABLE copied (body text) ON COMMIT DROP"))
        copy_binary(connection, "copied", ["body"], [(body,)])
        assert connection.execute(text("SELECT body FROM copied")).scalar() == body
