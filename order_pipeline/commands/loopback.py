"""The browser's way back: one small page on this machine that waits for an authorisation code.

Belongs here: listening on the loopback interface and believing only the answer to our own question. Not here: what
is done with the code (authorize.py).
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from order_pipeline.traffic.errors import GrantRefusedError

HOST = "127.0.0.1"
# A browser that connects and says nothing must not keep the next one waiting.
REQUEST_SECONDS = 10

DONE = "The shop is authorised as far as the platform is concerned; the rest is in your terminal. Close this page."
DENIED = "The platform says that access was not granted. Close this page; your terminal says what to do."
STRANGE = "This is not the answer to the question that order-pipeline asked: the state differs. Nothing was done."


class NoAnswerError(Exception):
    """Nobody came back in time; the message says what to do."""


class Loopback:
    """Waits for the browser; a context manager. ``redirect_uri`` is where it has to come."""

    def __init__(self, shop_id: str, state: str, port: int, warn: Callable[[str], None]) -> None:
        """Listen; ``port`` 0 takes a free one. ``warn`` is told of answers that were turned away. OSError: taken."""
        self._shop_id = shop_id
        self._state = state
        self._warn = warn
        self._answer: dict[str, str] | None = None
        self._server = HTTPServer((HOST, port), self._handler())
        self.redirect_uri = f"http://{HOST}:{self._server.server_port}/"

    def __enter__(self) -> Loopback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.server_close()

    def wait(self, seconds: float) -> str:
        """Return the code that the browser brings.

        Raises:
            GrantRefusedError: the owner, or the platform, said no.
            NoAnswerError: nothing came within that time.

        """
        deadline = time.monotonic() + seconds
        while self._answer is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NoAnswerError(
                    f"authorize {self._shop_id}: no browser came back within {seconds:.0f} s; run it again, or have "
                    f"the code shown and paste it: order-pipeline authorize {self._shop_id} --paste"
                )
            self._server.timeout = left
            self._server.handle_request()
        return code_of(self._answer, self._shop_id)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_SECONDS

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                answer = {name: values[0] for name, values in parse_qs(parts.query).items()}
                if parts.path != "/" or not {"code", "error"} & answer.keys():
                    self._say(404, "Nothing is here.")
                elif not hmac.compare_digest(answer.get("state", "").encode(), outer._state.encode()):
                    # Another page may have sent it, to slip us a token of its own: go on waiting for ours.
                    outer._warn("an answer with another state than ours was turned away")
                    self._say(400, STRANGE)
                else:
                    outer._answer = answer
                    self._say(200, DONE if "code" in answer else DENIED)

            def _say(self, status: int, words: str) -> None:
                body = f"<!doctype html><title>order-pipeline</title><p>{words}</p>".encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                # The address holds the code: no page that is opened from here shall learn it.
                self.send_header("Referrer-Policy", "no-referrer")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing: the request line holds the code."""

        return Handler


def code_of(answer: dict[str, str], shop_id: str) -> str:
    """Return the code of an answer. Raises GrantRefusedError when it holds a refusal instead."""
    if "code" in answer:
        return answer["code"]
    # Only words that cannot be anything but words: the address can be written by anybody.
    reason = "".join(sign for sign in answer.get("error", "") if sign.isalnum() or sign in "_-.")[:100]
    raise GrantRefusedError(
        f"authorising shop {shop_id}",
        f"the platform came back with {reason or 'no code'}",
        remedy=f"have the shop's owner agree, then run it again: order-pipeline authorize {shop_id}",
    )
