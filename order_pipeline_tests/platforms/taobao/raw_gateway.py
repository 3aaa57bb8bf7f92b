"""A gateway on a real socket that answers with whatever bytes, pauses and resets a test wants."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from urllib.parse import parse_qsl

Answer = Callable[[socket.socket], None]


def http(body: bytes, status: str = "200 OK", headers: str = "") -> Answer:
    """Answer with a whole HTTP message."""

    def answer(connection: socket.socket) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        connection.sendall(head.encode() + body)

    return answer


def raw(message: bytes) -> Answer:
    """Answer with exactly these bytes and close."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(message)
        _close_now(connection)

    return answer


def _close_now(connection: socket.socket) -> None:
    # The file that requests are read from holds the connection open; a socket of its own does not wait for it.
    socket.socket(fileno=connection.detach()).close()


def reset(connection: socket.socket) -> None:
    """Close the connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _close_now(connection)


def trickle(message: bytes, pause_seconds: float) -> Answer:
    """Answer byte after byte, until the other side has enough."""

    def answer(connection: socket.socket) -> None:
        pause = threading.Event()
        for byte in message:
            connection.sendall(bytes([byte]))
            pause.wait(pause_seconds)

    return answer


class RawGateway:
    """Serves while its ``with`` block runs. Each request takes the next answer; the last one is repeated."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/router/rest"
        self.request_lines: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.connections = 0
        self._open: list[socket.socket] = []

    def __enter__(self) -> RawGateway:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # shutdown wakes the thread that waits in accept; close alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection.makefile("rb") as stream:
            while request_line := stream.readline():
                length = 0
                while (header := stream.readline().strip()) != b"":
                    name, _, value = header.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                form = stream.read(length).decode()
                self.request_lines.append(request_line.decode().strip())
                self.forms.append(dict(parse_qsl(form, keep_blank_values=True)))
                answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                answer(connection)
