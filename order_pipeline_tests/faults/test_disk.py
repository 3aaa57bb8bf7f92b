"""A full disk, with the log or under it alone: the work fails clean, nothing is half there, and it goes on later."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
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
# Of a server as it comes.
SEGMENT_BYTES = 16 * 2**20
# Less than the first pages of a load write.
LEFT_OF_LOG_BYTES = 2**20


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
    server = OwnServer(small_disk / "home")
    try:
        filler = fill(small_disk, leave_megabytes=12)
        work_stops_clean_and_goes_on(server, filler, play, monkeypatch)
    finally:
        server.stop()


@pytest.mark.parametrize("play", [{"orders": 300}], indirect=True)
def test_a_full_disk_under_the_log_alone_stops_the_work_clean_too(
    small_disk: Path, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="order-pipeline-") as home:
        server = OwnServer(Path(home))
        try:
            log = move_log(server, Path(home) / "postgres" / "pg_wal", small_disk)
            filler = fill(small_disk, leave_megabytes=1)
            use_up(server, log)
            work_stops_clean_and_goes_on(server, filler, play, monkeypatch)
            # It was the log that had no room: the disk of the data has.
            assert "No space left on device" in (Path(home) / "postgres" / "log").read_text(errors="replace")
        finally:
            server.stop()


def move_log(server: OwnServer, log: Path, disk: Path) -> Path:
    """Put a server's write-ahead log on a disk of its own, where it grows until that is full."""
    with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # What is tested outlives the server, not a power cut; without it a crashed one is back at once.
        connection.execute(text("ALTER SYSTEM SET fsync = off"))
        # A checkpoint would make room by using old segments again.
        connection.execute(text("ALTER SYSTEM SET max_wal_size = '10GB'"))
        connection.execute(text("ALTER SYSTEM SET checkpoint_timeout = '1h'"))
    server.engine.dispose()
    server.halt()
    owner, moved = log.stat(), disk / "pg_wal"
    shutil.copytree(log, moved)
    shutil.rmtree(log)
    log.symlink_to(moved)
    for path in (moved, *moved.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
    server.start()
    return moved


def use_up(server: OwnServer, log: Path) -> None:
    """Write into the log until of its last segment a little is left."""
    with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while True:
            row = connection.execute(
                text("""SELECT pg_walfile_name(lsn), (pg_walfile_name_offset(lsn)).file_offset
                        FROM pg_current_wal_insert_lsn() AS lsn""")
            ).one()
            segments = sorted(path.name for path in log.iterdir() if len(path.name) == len(row[0]))
            room = SEGMENT_BYTES * (segments[-1] != row[0]) or SEGMENT_BYTES - row[1] - LEFT_OF_LOG_BYTES
            if room <= 0:
                return
            connection.execute(
                text("SELECT pg_logical_emit_message(false, 'test', repeat('x', :size))"), {"size": min(room, 2**20)}
            )


def until_up(server: OwnServer) -> None:
    """Wait for a server that is recovering from a crash, and start one that gave up over it, for want of room."""
    deadline = time.monotonic() + 120
    while True:
        try:
            server.start()
            with server.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except (OSError, subprocess.SubprocessError, DBAPIError):
            assert time.monotonic() < deadline
            server.engine.dispose()
            time.sleep(0.2)
        else:
            return


def work_stops_clean_and_goes_on(server: OwnServer, filler: Path, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    # Waiting for the server to come back is another test's; here it does not before there is room.
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 2.0)
    access = play.access()
    with pytest.raises((DBAPIError, psycopg2.Error, DatabaseUnreachableError)):
        pass_over(server.engine, access)
    filler.unlink()
    until_up(server)
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
