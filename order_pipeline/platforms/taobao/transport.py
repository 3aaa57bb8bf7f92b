"""Bytes to the gateway and back, cheaply and never for longer than the deadline (Taobao contract §1.1).

Belongs here: sessions, connections, time limits, size limits, and what the network's own failures mean. Not here:
parameters and signatures (client.py), nor what the bytes say (decoding.py).

``requests`` limits the time between two bytes, not the time of an answer: a server that sends a byte a second holds
a caller for ever. So each connection of ours reads through a file that knows when the call has to be over.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
import requests.adapters
import urllib3
import urllib3.connection
import urllib3.exceptions
from requests.structures import CaseInsensitiveDict
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from order_pipeline.traffic.errors import CallerError, CallError, MalformedAnswerError, TransientError
from order_pipeline.traffic.time_limit import seconds_left

# A gateway that does not take a connection within this is not there.
CONNECT_SECONDS = 5.0
# The longest silence in the middle of an answer.
READ_SECONDS = 15.0
# From the request to the last byte, whatever trickles in between.
TOTAL_SECONDS = 30.0
# What is left of a time limit may be nothing, and a timeout of nothing is refused as a mistake.
SHORTEST_SECONDS = 0.1
# A hundred orders are about 0.2 MB; an answer as large as this is no page, and it has to fit our memory.
LARGEST_BODY = 64 * 1024 * 1024
CHUNK = 256 * 1024

FORM = "application/x-www-form-urlencoded;charset=UTF-8"

CHECK_GATEWAY = "check the network, and the shop's gateway_url"
CHECK_CERTIFICATE = (
    "check the shop's gateway_url; behind a proxy that reads along, name its certificate in REQUESTS_CA_BUNDLE"
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how large an answer may be, in seconds and bytes."""

    connect_seconds: float = CONNECT_SECONDS
    read_seconds: float = READ_SECONDS
    total_seconds: float = TOTAL_SECONDS
    largest_body: int = LARGEST_BODY


DEFAULT_LIMITS = Limits()


class Reply(msgspec.Struct, frozen=True):
    """What came back: the HTTP status, the unpacked body and the Retry-After header."""

    status: int
    body: bytes
    retry_after: str | None


class _Deadline(threading.local):
    """When the call that this thread makes has to be over, on the monotonic clock, and its longest silence."""

    over_at: float = 0.0
    read_seconds: float = READ_SECONDS


_deadline = _Deadline()


class _DeadlineReader(io.RawIOBase):
    """The socket's bytes until the deadline; every single wait for the socket ends there."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._socket = sock
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = _deadline.over_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete at the deadline")
        self._socket.settimeout(min(left, _deadline.read_seconds))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _DeadlineFile:
    """What http.client takes for a socket: it only wants a file to read from."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._socket), CHUNK)


class _DeadlineResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(_DeadlineFile(sock), *args, **options)  # type: ignore[arg-type]


class _HTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _DeadlineResponse


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    response_class = _DeadlineResponse


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class _Adapter(requests.adapters.HTTPAdapter):
    """One connection a thread, no retries of its own (traffic.retry counts every attempt)."""

    def __init__(self) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


class Transport:
    """Posts to one gateway. Safe to use from several threads: each has its own session and connection."""

    def __init__(self, url: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self._url = url
        self._limits = limits
        self._local = threading.local()
        # Weak: a thread's session, and its connection, end with the thread.
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.host = _host_of(url)

    def post(self, body: bytes, *, attempted: str, url: str | None = None, content_type: str = FORM) -> Reply:
        """Post a body and read the whole answer.

        Args:
            body: with all that is secret, so that no URL holds any of it.
            attempted: for messages.
            url: another address of the same gateway than its own.
            content_type: of the body.

        Raises:
            TransientError: the network failed, or the answer was not complete at the deadline.
            MalformedAnswerError: the answer is too large or not unpackable.
            CallerError: the gateway's address is none, or its certificate is not accepted.

        """
        # requests' exceptions carry the request, secrets included: describe them, and raise where they are gone.
        failure: Callable[[], CallError]
        try:
            return self._post(url or self._url, body, content_type)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            failure = self._failed(CallerError, attempted, error, "the address is none", CHECK_GATEWAY)
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError) as error:
            failure = self._failure_of(attempted, error)
        raise failure()

    def close(self) -> None:
        """Close every thread's connections; the transport stays usable."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()
        self._local = threading.local()

    def _post(self, url: str, body: bytes, content_type: str) -> Reply:
        limits = self._limits
        total_seconds = min(limits.total_seconds, max(seconds_left(), SHORTEST_SECONDS))
        read_seconds = min(limits.read_seconds, total_seconds)
        _deadline.over_at = time.monotonic() + total_seconds
        _deadline.read_seconds = read_seconds
        send, settings = self._connected()
        request = requests.PreparedRequest()
        request.method = "POST"
        request.url = url
        request.headers = CaseInsensitiveDict(
            {
                "Content-Type": content_type,
                "Content-Length": str(len(body)),
                "Accept-Encoding": "gzip",
                "Accept": "application/json",
                "User-Agent": "order-pipeline",
            }
        )
        request.body = body
        request.hooks = {"response": []}
        response = send(
            request, stream=True, timeout=(min(limits.connect_seconds, total_seconds), read_seconds), **settings
        )
        try:
            answer = self._read(response.raw)
        except BaseException:
            # What is left of the answer must not be taken for the beginning of the next one.
            response.close()
            raise
        return Reply(response.status_code, answer, response.headers.get("Retry-After"))

    def _read(self, raw: Any) -> bytes:
        chunks = []
        size = 0
        while chunk := raw.read(CHUNK, decode_content=True):
            size += len(chunk)
            if size > self._limits.largest_body:
                raise _TooLargeError
            chunks.append(chunk)
        return b"".join(chunks)

    def _connected(self) -> tuple[Callable[..., requests.Response], dict[str, Any]]:
        """Return this thread's adapter, and what the environment says of proxies and certificates, read once."""
        session = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            for scheme in ("http://", "https://"):
                session.mount(scheme, _Adapter())
            settings = session.merge_environment_settings(self._url, {}, True, None, None)
            self._local.session = session
            self._local.send = session.get_adapter(self._url).send
            self._local.settings = {name: settings[name] for name in ("proxies", "verify", "cert")}
            with self._lock:
                self._sessions.add(session)
        return self._local.send, self._local.settings

    def _failure_of(self, attempted: str, error: Exception) -> Callable[[], CallError]:
        if isinstance(_root_of(error), ssl.SSLCertVerificationError):
            # Any other failure of TLS is one of the network: a connection that was cut off, for instance.
            return self._failed(CallerError, attempted, error, "no trusted connection", CHECK_CERTIFICATE)
        if isinstance(error, _TooLargeError):
            reason = f"the answer has more than {self._limits.largest_body} bytes"
            return self._failed(MalformedAnswerError, attempted, error, reason, CHECK_GATEWAY)
        if isinstance(error, urllib3.exceptions.DecodeError | requests.exceptions.ContentDecodingError):
            return self._failed(MalformedAnswerError, attempted, error, "the answer cannot be unpacked", CHECK_GATEWAY)
        return self._failed(TransientError, attempted, error, "no complete answer", CHECK_GATEWAY)

    def _failed(
        self, kind: type[CallError], attempted: str, error: Exception, what: str, remedy: str
    ) -> Callable[[], CallError]:
        reason = f"{what} from {self.host}: {_described(_root_of(error))}"
        return lambda: kind(attempted, reason, remedy=remedy)


class _TooLargeError(OSError):
    """The answer has more bytes than we take."""


def _host_of(url: str) -> str:
    """Return host and port for messages: an address might hold a password or a query."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:
        return "the gateway"


def _root_of(error: BaseException) -> BaseException:
    """Find the innermost cause, which the layers of requests and urllib3 wrap each in its own way."""
    seen = {id(error)}
    while True:
        candidates = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
        inner = next((one for one in candidates if isinstance(one, BaseException) and id(one) not in seen), None)
        if inner is None:
            return error
        error = inner
        seen.add(id(error))


def _described(error: BaseException) -> str:
    """Name a cause: its class, and the words of the operating system, which hold no parameters of ours."""
    words = str(error) if isinstance(error, TimeoutError) else ""
    if isinstance(error, OSError) and error.strerror:
        words = error.strerror
    return f"{type(error).__name__} ({words})" if words else type(error).__name__
