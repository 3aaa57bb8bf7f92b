"""Versions of records that wait in a session's own tables until one merge lets all of them in.

Belongs here: what orders and refunds share of that. Not here: their columns and merges (orders.py, refunds.py), the
staging of single statements (copying.py).

A window of a list comes in several transactions, so that nothing is locked and little is held in memory while the
platform is waited for, and lands in one, so that no reader sees half of it. What a process staged that was killed is
gone with its session.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import is_made, staging_table
from order_pipeline.warehouse.subjects import Subject

# One number for what one transaction staged: it tells apart versions, and lines of versions, of one record.
_BATCH = "batch xid8 NOT NULL DEFAULT pg_current_xact_id()"


class StagedRowsError(Exception):
    """The session's tables do not hold what was put there: the connection is not always the same session."""


def begin_staging(connection: Connection, subject: Subject, lines: str | None = None) -> None:
    """Make this session's staging tables of a subject, or empty them. ``lines``: the table of its lines, if any."""
    tables = {subject.staged: subject.table, **({subject.staged_lines: lines} if lines else {})}
    emptied = [*tables, subject.merged]
    # It is the last to be made, in one transaction with the others.
    if not is_made(connection, subject.merged):
        for name, like in tables.items():
            staging_table(connection, name, like, _BATCH, over_transactions=subject.staged_stays)
        connection.execute(
            text(
                f"CREATE TEMP TABLE {subject.merged} "
                f"(shop_id text, {subject.key} text, is_new boolean, detail_modified_at timestamptz)"
                f"{'' if subject.staged_stays else ' ON COMMIT DELETE ROWS'}"
            )
        )
    elif subject.staged_stays:
        connection.execute(text(f"TRUNCATE {', '.join(emptied)}"))
    else:
        # Empty, unless something was merged in this very transaction. TRUNCATE makes new files, 2 to 8 ms of them.
        connection.execute(text("; ".join(f"DELETE FROM {name}" for name in emptied)))


def noting_merged(subject: Subject, merge: str) -> str:
    """Return the merge of a subject's rows, an INSERT into its table ``AS stored``, that notes which it let in."""
    return f"""
        WITH applied AS (
            {merge}
            RETURNING stored.shop_id, stored.{subject.key}, (stored.xmax = 0), stored.detail_modified_at
        )
        INSERT INTO {subject.merged} SELECT * FROM applied
    """


def drop_superseded(connection: Connection, subject: Subject, expected: int, *, has_lines: bool = False) -> None:
    """Leave one version of each record in its staging table, the newest, and the lines of just that.

    A record that changes during a walk is on two of its pages. ``expected``: how many rows were staged.

    Raises StagedRowsError when there are others: nothing may be merged then.
    """
    rows, records = connection.execute(
        text(f"SELECT count(*), count(DISTINCT {subject.key}) FROM {subject.staged}")
    ).one()
    if rows != expected:
        raise StagedRowsError(
            f"merging a window of {subject.name}: {expected} rows were staged, and {rows} are there; a retry helps "
            "only with connections that keep their session: no pooler in transaction mode before Postgres"
        )
    if rows == records:
        return
    superseded = f"""
        DELETE FROM {subject.staged} old USING {subject.staged} new
        WHERE old.{subject.key} = new.{subject.key}
          AND (old.modified_at, old.sent_at, old.batch) < (new.modified_at, new.sent_at, new.batch)
    """
    if not has_lines:
        connection.execute(text(superseded))
        return
    connection.execute(
        text(f"""
            WITH old AS ({superseded} RETURNING old.{subject.key}, old.batch)
            DELETE FROM {subject.staged_lines} line USING old
            WHERE line.{subject.key} = old.{subject.key} AND line.batch = old.batch
        """)
    )
