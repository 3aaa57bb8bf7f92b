"""The line to the database breaks: a proxy in between resets, slices and cuts off what passes."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from order_pipeline.warehouse import database
from order_pipeline.warehouse.database import DatabaseUnreachableError, connect
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.faults.test_database import passes_until_equal
from order_pipeline_tests.proving import pass_over

SLICE_BYTES = 700
# A connection's life: long enough for some statements, too short for a first load.
LIVES_BYTES = (2_000, 400_000)
RESETS = 6


class Proxy:
    """A TCP door to a PostgreSQL server that slices what passes, and resets connections after some bytes."""

    def __init__(self, address: str, seed: int) -> None:
        self._upstream = make_url(address)
        self._chance = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = self._upstream.set(
            host="127.0.0.1", port=self._listener.getsockname()[1], query={}
        ).render_as_string(hide_password=False)
        self.spoils = True
        self.resets = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                life = self._chance.randint(*LIVES_BYTES)
                threading.Thread(target=self._serve, args=(client, life), daemon=True).start()

    def _serve(self, client: socket.socket, life: int) -> None:
        server = self._dial()
        back = threading.Thread(target=self._pump, args=(server, client, life), daemon=True)
        back.start()
        self._pump(client, server, life)
        back.join()
        client.close()
        server.close()

    def _dial(self) -> socket.socket:
        host = self._upstream.query.get("host", self._upstream.host)
        if isinstance(host, str) and host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{self._upstream.port or 5432}")
            return server
        return socket.create_connection((str(host), self._upstream.port or 5432))

    def _pump(self, source: socket.socket, target: socket.socket, life: int) -> None:
        """Hand on what comes, in slices; at the end of its life the connection is reset in the middle of one."""
        with suppress(OSError):
            while got := source.recv(65_536):
                for start in range(0, len(got), SLICE_BYTES):
                    part = got[start : start + SLICE_BYTES]
                    life -= len(part)
                    if life < 0 and self.spoils:
                        target.sendall(part[: len(part) // 2])
                        self.resets += 1
                        self._reset(source, target)
                        return
                    target.sendall(part)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _reset(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with suppress(OSError):
                if each.family == socket.AF_INET:
                    # Closing sends RST instead of FIN.
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)
                each.close()


@contextmanager
def proxy_to(address: str) -> Iterator[Proxy]:
    proxy = Proxy(address, seed=5)
    yield proxy
    proxy.close()


@pytest.mark.parametrize("play", [{"orders": 100}], indirect=True)
def test_a_line_to_the_database_that_is_reset_again_and_again_loses_nothing(
    warehouse_url: str, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever started the work starts it again; here it does not wait for that long.
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 2.0)
    with proxy_to(warehouse_url) as proxy:
        engine = connect(proxy.url)
        access = play.access()
        for _ in range(30):
            with suppress(DatabaseUnreachableError, DBAPIError):
                pass_over(engine, access)
            play.clock.advance(20)
            play.marketplace.place_order("demo-shop")
            if proxy.resets >= RESETS:
                break
        assert proxy.resets >= RESETS
        proxy.spoils = False
        passes_until_equal(engine, access, play)
        engine.dispose()
