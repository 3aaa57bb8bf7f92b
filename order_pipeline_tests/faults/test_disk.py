"""A full disk: the work fails clean, nothing is half there, and it goes on once there is room."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from order_pipeline.warehouse import database
from order_pipeline.warehouse.database import DatabaseUnreachableError, transaction
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.faults.test_database import OwnServer, passes_until_equal
from order_pipeline_tests.proving import pass_over

DISK_MEGABYTES = 220


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own that is quickly full."""
    with tempfile.TemporaryDirectory(prefix="order-pipeline-disk-") as folder:
        options = f"size={DISK_MEGABYTES}m,mode=0755"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
        )
        if mounted.returncode:
            pytest.skip(f"a small disk can only be mounted by root here: {mounted.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, leave_megabytes: int) -> Path:
    """Fill the disk up to a remainder."""
    state = os.statvfs(disk)
    filler = disk / "filler"
    with filler.open("wb") as file:
        for _ in range(state.f_bavail * state.f_frsize // 2**20 - leave_megabytes):
            file.write(b"x" * 2**20)
    return filler


@pytest.mark.parametrize("play", [{"orders": 4_000}], indirect=True)
def test_a_full_disk_stops_the_work_clean_and_it_goes_on_when_there_is_room(
    small_disk: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Waiting for the server to come back is another test's; here it does not before there is room.
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 2.0)
    server = OwnServer(small_disk / "home")
    try:
        access = play.access()
        filler = fill(small_disk, leave_megabytes=12)
        with pytest.raises((DBAPIError, psycopg2.Error, DatabaseUnreachableError)):
            pass_over(server.engine, access)
        filler.unlink()
        # The server may have gone down over it, as it does when it cannot write its log.
        server.start()
        with transaction(server.engine) as connection:
            bare = connection.execute(
                text("""SELECT count(*) FROM core.orders o WHERE NOT EXISTS
                        (SELECT FROM core.order_items i WHERE i.shop_id = o.shop_id AND i.order_id = o.order_id)""")
            ).scalar()
            unlisted = connection.execute(
                text("""SELECT count(*) FROM core.orders o WHERE detail_modified_at IS NULL AND NOT EXISTS
                        (SELECT FROM sync.pending_order p WHERE p.order_id = o.order_id)""")
            ).scalar()
        assert (bare, unlisted) == (0, 0)
        passes_until_equal(server.engine, access, play)
    finally:
        server.stop()
