"""The marketplace over HTTP: the gateway under /router/, tokens under /oauth/, everything else under /sandbox/.

Belongs here: sockets, HTTP headers, compression, start and stop; with ``delivery`` the only module that
imports the web framework. Not here: what an answer says (``protocol``, ``oauth``, ``inspection``).
"""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import FrameType, TracebackType
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from order_pipeline.sandbox import oauth, steering
from order_pipeline.sandbox.batch import SEPARATOR, answer_batch
from order_pipeline.sandbox.clock import DrivenClock, from_ms
from order_pipeline.sandbox.delivery import Protocol, deliver_badly, reset
from order_pipeline.sandbox.faults import CATALOGUE, Fault
from order_pipeline.sandbox.inspection import truth, truth_of_parcels, truth_of_refunds, truth_of_stock
from order_pipeline.sandbox.marketplace import Marketplace, UnknownOrderError
from order_pipeline.sandbox.protocol import answer_call
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP

__all__ = ["DEMO_SHOP", "SandboxServer", "SandboxSettings", "application", "serve"]

GATEWAY_PATH = "/router/rest"
BATCH_PATH = "/router/batch"

_COMPRESS_ABOVE_BYTES = 1024
# The fastest level: list pages shrink ninefold with it, and the next level costs twice the time.
_COMPRESSION_LEVEL = 1
_FORM = b"application/x-www-form-urlencoded"
# Longer than any client's pool keeps an idle connection, so that reusing one never meets a closed socket.
_KEEP_ALIVE_SECONDS = 75
_SHUTDOWN_SECONDS = 2


class _Gateway:
    """The gateway as a bare ASGI endpoint: the framework's request objects would cost as much as the answer."""

    def __init__(self, marketplace: Marketplace) -> None:
        self._marketplace = marketplace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        body = await _read(receive)
        parameters = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if scope["path"] == BATCH_PATH:
            separator = headers.get(b"top-api-separator", b"").decode("latin-1") or SEPARATOR
            text = body.decode("utf-8", "replace")
            answer = answer_batch(self._marketplace, scope["method"], parameters, text, separator)
        else:
            if body and headers.get(b"content-type", _FORM).startswith(_FORM):
                parameters.update(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
            answer = answer_call(self._marketplace, scope["method"], parameters)
        if answer.delay_seconds:
            await asyncio.sleep(answer.delay_seconds)
        if answer.delivery is not None and answer.delivery.cuts_before:
            await reset(scope)
            return
        content = answer.body
        sent = [(b"content-type", answer.content_type.encode())]
        if len(content) > _COMPRESS_ABOVE_BYTES and b"gzip" in headers.get(b"accept-encoding", b""):
            content = gzip.compress(content, _COMPRESSION_LEVEL, mtime=0)
            sent.append((b"content-encoding", b"gzip"))
            if answer.delivery is not None:
                content = answer.delivery.cut_gzip(content)
        sent.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": sent})
        if answer.delivery is not None and answer.delivery.is_broken:
            await deliver_badly(answer.delivery, content, scope, send)
            return
        await send({"type": "http.response.body", "body": content})


async def _read(receive: Receive) -> bytes:
    pieces = []
    more = True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


class _Inspection:
    """What the sandbox says outside the wire protocol."""

    def __init__(self, marketplace: Marketplace) -> None:
        self._marketplace = marketplace

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def statistics(self, _: Request) -> Response:
        return JSONResponse(self._marketplace.statistics())

    async def truth(self, request: Request) -> Response:
        fields = request.query_params.get("fields")
        return _lines(request, lambda shop: truth(self._marketplace, shop, fields))

    async def truth_of_refunds(self, request: Request) -> Response:
        return _lines(request, lambda shop: truth_of_refunds(self._marketplace, shop))

    async def truth_of_parcels(self, request: Request) -> Response:
        try:
            hours = float(request.query_params.get("hours", "72"))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return _lines(request, lambda shop: truth_of_parcels(self._marketplace, shop, hours))

    async def truth_of_stock(self, request: Request) -> Response:
        return _lines(request, lambda shop: truth_of_stock(self._marketplace, shop))

    async def clock(self, request: Request) -> Response:
        clock = self._marketplace.clock
        if request.method == "POST":
            if not isinstance(clock, DrivenClock):
                return JSONResponse({"error": "this sandbox runs on the real clock"}, status_code=409)
            try:
                _drive(clock, await request.json())
            except (ValueError, TypeError, KeyError) as error:
                return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse({"now": from_ms(clock.now_ms()).isoformat()})

    async def faults(self, request: Request) -> Response:
        plan = self._marketplace.faults
        if request.method == "POST":
            try:
                plan.switch_on(msgspec.json.decode(await request.body(), type=Fault))
            except (msgspec.MsgspecError, ValueError) as error:
                return JSONResponse({"error": str(error)}, status_code=400)
        elif request.method == "DELETE":
            if label := request.query_params.get("label"):
                plan.switch_off(label)
            else:
                plan.clear()
        known = msgspec.to_builtins(list(CATALOGUE.values()))
        return JSONResponse({"active": msgspec.to_builtins(plan.active), "struck": dict(plan.struck), "known": known})

    async def authorizations(self, request: Request) -> Response:
        acts = {
            "expire": self._marketplace.expire_session,
            "renew": self._marketplace.renew_session,
            "revoke": self._marketplace.revoke_authorization,
        }
        try:
            wanted = await request.json()
            acts[wanted["action"]](wanted["shop"])
        except (ValueError, TypeError, KeyError) as error:
            return JSONResponse({"error": f"an action of {sorted(acts)} and a shop: {error}"}, status_code=400)
        except UnknownOrderError as error:
            return JSONResponse({"error": str(error)}, status_code=404)
        return JSONResponse({"status": "ok"})


class _OAuth:
    """The pages of the OAuth server."""

    def __init__(self, marketplace: Marketplace) -> None:
        self._marketplace = marketplace

    async def authorize(self, request: Request) -> Response:
        return await _page(oauth.authorize(self._marketplace, dict(request.query_params)))

    async def token(self, request: Request) -> Response:
        form = parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
        return await _page(oauth.token(self._marketplace, dict(request.query_params) | dict(form)))


def _steering(marketplace: Marketplace, acts: Any) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint that carries out acts of these types."""
    decoder = msgspec.json.Decoder(acts, strict=False)

    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(decoder.decode(await request.body()).carry_out(marketplace))
        except UnknownOrderError as error:
            return JSONResponse({"error": str(error)}, status_code=404)
        except (msgspec.MsgspecError, ValueError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return endpoint


async def _page(page: oauth.Page) -> Response:
    await asyncio.sleep(page.delay_seconds)
    headers = {"location": page.location} if page.location else {}
    return Response(page.body, page.status, headers, page.content_type)


def _lines(request: Request, taken: Callable[[str], tuple[str, Iterator[bytes]]]) -> Response:
    """Answer with the lines of the shop that the query names."""
    try:
        now, pieces = taken(request.query_params.get("shop", ""))
    except UnknownOrderError as error:
        return JSONResponse({"error": str(error)}, status_code=404)
    headers = {"x-platform-now": now}
    return StreamingResponse(_unhurried(pieces), media_type="application/x-ndjson", headers=headers)


async def _unhurried(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        # Let other calls in between the pieces.
        await asyncio.sleep(0)


def _drive(clock: DrivenClock, order: Any) -> None:
    """{"now": ISO 8601 with offset} or {"advance_seconds": number}."""
    if "now" in order:
        clock.set(datetime.fromisoformat(order["now"]))
    else:
        clock.advance(float(order["advance_seconds"]))


def application(marketplace: Marketplace) -> Starlette:
    """Return the ASGI application of a marketplace."""
    gateway, inspection, sign_on = _Gateway(marketplace), _Inspection(marketplace), _OAuth(marketplace)
    return Starlette(
        routes=[
            # Without a list of methods every verb reaches the gateway, which has its own error for wrong ones.
            Route(GATEWAY_PATH, gateway),
            Route(BATCH_PATH, gateway),
            Route("/oauth/authorize", sign_on.authorize),
            Route("/oauth/token", sign_on.token, methods=["POST"]),
            Route("/sandbox/health", inspection.health),
            Route("/sandbox/statistics", inspection.statistics),
            Route("/sandbox/truth", inspection.truth),
            Route("/sandbox/truth/refunds", inspection.truth_of_refunds),
            Route("/sandbox/truth/parcels", inspection.truth_of_parcels),
            Route("/sandbox/truth/stock", inspection.truth_of_stock),
            Route("/sandbox/stock", _steering(marketplace, steering.MoveStock), methods=["POST"]),
            Route("/sandbox/orders", _steering(marketplace, steering.OrderActs), methods=["POST"]),
            Route("/sandbox/refunds", _steering(marketplace, steering.MoveRefund), methods=["POST"]),
            Route("/sandbox/parcels", _steering(marketplace, steering.MoveParcel), methods=["POST"]),
            Route("/sandbox/clock", inspection.clock, methods=["GET", "POST"]),
            Route("/sandbox/faults", inspection.faults, methods=["GET", "POST", "DELETE"]),
            Route("/sandbox/authorizations", inspection.authorizations, methods=["POST"]),
        ]
    )


class _Server(uvicorn.Server):
    """uvicorn that tells when it listens and, when signalled, returns instead of signalling again."""

    def __init__(self, marketplace: Marketplace, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                application(marketplace),
                http=Protocol,
                lifespan="off",
                log_level="warning",
                access_log=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
        )
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        earlier = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.should_exit = True


def _listen(host: str, port: int, *, allow_remote: bool) -> tuple[socket.socket, str]:
    """Return a listening socket and its URL. ValueError for a host that others can reach, unless allowed."""
    address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    if not address.is_loopback and not allow_remote:
        raise ValueError(f"the sandbox has no real authentication and listens only on loopback, not on {host}")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
    except OSError:
        listener.close()
        raise
    shown = f"[{address}]" if address.version == 6 else str(address)
    return listener, f"http://{shown}:{listener.getsockname()[1]}"


class SandboxServer:
    """Serves a marketplace from a thread of this process while its ``with`` block runs.

    ``port`` 0 takes a free one; ``url`` and ``gateway_url`` say which. ValueError for a non-loopback host unless
    ``allow_remote``; OSError if the port is taken.
    """

    def __init__(
        self, marketplace: Marketplace, host: str = "127.0.0.1", port: int = 0, *, allow_remote: bool = False
    ) -> None:
        self.marketplace = marketplace
        self._listener, self.url = _listen(host, port, allow_remote=allow_remote)
        self.gateway_url = self.url + GATEWAY_PATH
        self._ready = threading.Event()
        self._server = _Server(marketplace, self._ready.set)
        self._thread = threading.Thread(target=self._run, name="sandbox-server", daemon=True)

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._listener.close()
            self._ready.set()

    def __enter__(self) -> SandboxServer:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.marketplace.close()


def serve(
    settings: SandboxSettings,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None],
    allow_remote: bool = False,
) -> None:
    """Serve the marketplace of ``settings`` from this thread until SIGINT or SIGTERM.

    ``on_ready`` gets the base URL once it listens. ValueError for a non-loopback host unless ``allow_remote``;
    OSError if the port is taken; otherwise as ``open_marketplace``.
    """
    listener, url = _listen(host, port, allow_remote=allow_remote)
    with listener:
        marketplace = open_marketplace(settings)
        _Server(marketplace, lambda: on_ready(url)).run(sockets=[listener])
        marketplace.close()
