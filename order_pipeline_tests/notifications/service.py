"""A real HTTP server that plays the robots' services: it says what a test tells it to, and keeps what it got."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

TAKEN = {"errcode": 0, "errmsg": "ok", "code": 0}


class Got(NamedTuple):
    path: str
    query: dict[str, str]
    body: dict[str, Any]

    @property
    def content(self) -> str:
        return str(
            (self.body.get("text") or self.body.get("content") or {})["content" if "text" in self.body else "text"]
        )


class Service:
    def __init__(self) -> None:
        self.got: list[Got] = []
        self.status = 200
        self.answer: Any = TAKEN
        self.hang_seconds = 0.0
        self.url = ""

    def says(self, status: int, answer: Any) -> None:
        self.status, self.answer = status, answer


@contextmanager
def running_service() -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            address = urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            service.got.append(Got(address.path, query, body))
            answer = service.answer if isinstance(service.answer, str) else json.dumps(service.answer)
            # A trickle: every byte is in time, the answer never is.
            for number in range(int(service.hang_seconds / 0.05)):
                self.wfile.write(b"." if number else b"HTTP/1.1 200 OK\r\nX-Slow: ")
                time.sleep(0.05)
            self.send_response(service.status)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
