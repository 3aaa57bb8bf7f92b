"""sync.token: the tokens of shops as ciphertext, and the lock that keeps two processes from renewing the same one.

Belongs here: storing and reading rows. Not here: what is in them (sync/sealing.py), when to renew (sync/renewal.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from order_pipeline.warehouse.lock_keys import RENEWAL_LOCKS


class TokenRow(NamedTuple):
    """One shop's token; the fields are the columns of ``sync.token``. ``sealed`` holds the secrets, encrypted."""

    shop_id: str
    app_key: str
    sealed: str
    fingerprint: str
    account: str | None
    through_gateway: bool
    authorised_at: datetime
    authorised_by: str
    obtained_at: datetime
    ends_at: datetime
    refresh_ends_at: datetime | None
    next_refresh_at: datetime | None
    refresh_problem: str | None
    refreshes: int


_COLUMNS = ", ".join(TokenRow._fields)
_VALUES = ", ".join(f":{column}" for column in TokenRow._fields)
_ASSIGNMENTS = ", ".join(f"{column} = excluded.{column}" for column in TokenRow._fields[1:])


def read_token_row(connection: Connection, shop_id: str, app_key: str) -> TokenRow | None:
    """Return the shop's token, None when there is none of this app."""
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM sync.token WHERE shop_id = :shop_id AND app_key = :app_key"),
        {"shop_id": shop_id, "app_key": app_key},
    ).one_or_none()
    return TokenRow(*row) if row else None


def store_token(connection: Connection, row: TokenRow) -> None:
    """Store a shop's token; it replaces an earlier one."""
    connection.execute(
        text(
            f"INSERT INTO sync.token ({_COLUMNS}) VALUES ({_VALUES}) ON CONFLICT (shop_id) DO UPDATE SET {_ASSIGNMENTS}"
        ),
        row._asdict(),
    )


def put_renewal_off(connection: Connection, shop_id: str, until: datetime | None, problem: str) -> None:
    """Note why a token was not renewed, and when it is tried again; None: not any more."""
    connection.execute(
        text("UPDATE sync.token SET next_refresh_at = :until, refresh_problem = :problem WHERE shop_id = :shop_id"),
        {"shop_id": shop_id, "until": until, "problem": problem},
    )


def forget_token(connection: Connection, shop_id: str) -> bool:
    """Delete a shop's token; return whether there was one."""
    result = connection.execute(text("DELETE FROM sync.token WHERE shop_id = :shop_id"), {"shop_id": shop_id})
    return bool(result.rowcount)


@contextmanager
def renewal_lock(engine: Engine, shop_id: str) -> Iterator[None]:
    """Be the only one, over all processes, who renews or judges the shop's token while the block runs.

    A session's lock, outside of any transaction: none stays open while the platform is asked, and Postgres drops it
    when the process dies.
    """
    parameters = {"locks": RENEWAL_LOCKS, "shop_id": shop_id}
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:locks, hashtext(:shop_id))"), parameters)
        connection.commit()
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:locks, hashtext(:shop_id))"), parameters)
            connection.commit()
