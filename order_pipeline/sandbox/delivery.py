"""Faults below HTTP: resets, bodies that stop short, bodies that trickle.

Belongs here: what needs the connection itself, which the web framework keeps to itself. Not here: which call is
struck (``faults``).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from order_pipeline.sandbox.faults import Delivery

_TRANSPORT = "sandbox.transport"
# With a linger of zero seconds the kernel answers with RST and throws away what was not sent.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# How often a connection with nothing to send looks whether its client has given up.
_STEP_SECONDS = 0.05


class Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """The server's protocol, which also hands every call its connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection and let every call on it know it."""
        super().connection_made(transport)
        # Where the server's classes keep the application is theirs; there is no public way to the connection.
        itself = cast(Any, self)
        inner = itself.app

        def with_connection(scope: Scope, receive: Receive, send: Send) -> Any:
            scope[_TRANSPORT] = transport
            return inner(scope, receive, send)

        itself.app = with_connection


async def reset(scope: Scope) -> None:
    """Reset the connection of a call."""
    transport = _transport(scope)
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # The client may have gone already.
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
    await _gone(transport)


async def _gone(transport: asyncio.Transport) -> None:
    """Wait until the server knows that the connection is closed, or it would complain of an unfinished answer."""
    await asyncio.sleep(0 if transport.is_closing() and not transport.get_write_buffer_size() else _STEP_SECONDS)


async def deliver_badly(delivery: Delivery, content: bytes, scope: Scope, send: Send) -> None:
    """Send a body whose headers are out already, as the fault will have it."""
    transport = _transport(scope)
    if delivery.is_silent:
        while not transport.is_closing():
            await asyncio.sleep(_STEP_SECONDS)
    elif delivery.is_slow:
        for position in range(len(content)):
            await send({"type": "http.response.body", "body": content[position : position + 1], "more_body": True})
            await asyncio.sleep(delivery.pause_seconds)
            if transport.is_closing():
                return
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
        if delivery.resets:
            # Time for the first half to arrive, which a reset would otherwise take back.
            await asyncio.sleep(_STEP_SECONDS)
            await reset(scope)
        else:
            transport.close()
            await _gone(transport)


def _transport(scope: Scope) -> asyncio.Transport:
    return cast(asyncio.Transport, scope[_TRANSPORT])
