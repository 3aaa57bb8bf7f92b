"""Creating a database on a server that lacks it.

Belongs here: the database itself. Not here: its schema (migrate.py).
"""

from __future__ import annotations

from contextlib import suppress

import psycopg2
from psycopg2 import sql
from sqlalchemy import make_url

# Every server has it; the one that is asked for cannot be connected to before it exists.
MAINTENANCE_DATABASE = "postgres"


def create_if_missing(url: str) -> bool:
    """Create the database of a postgresql+psycopg2:// address unless it is there; return whether it was created.

    Raises psycopg2.Error when the server does not answer, or does not let this user in or create databases.
    """
    parts = make_url(url)
    server = parts.set(drivername="postgresql", database=MAINTENANCE_DATABASE)
    connection = psycopg2.connect(server.render_as_string(hide_password=False))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (parts.database,))
            if cursor.fetchone() is not None:
                return False
            # Another process may have been quicker.
            with suppress(psycopg2.errors.DuplicateDatabase):
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(str(parts.database))))
                return True
    finally:
        connection.close()
    return False
