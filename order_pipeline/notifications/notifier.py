"""What every messenger is: something with a name that takes a message, or says why it did not.

Belongs here: the protocol, its message and its error. Not here: any messenger.
"""

from __future__ import annotations

from threading import Thread
from typing import NamedTuple, Protocol


class Message(NamedTuple):
    """What is sent: a line, and a text of several lines. Plain, as underscores of names are marks in Markdown."""

    title: str
    text: str


class DeliveryError(Exception):
    """A message was not taken. The text is one line and holds neither the address nor a secret.

    Attributes:
        refused: the service answered and said no: the same message may be refused for ever, another one not.
        retry_in_seconds: the service wants to be left alone for so long; 0: it did not say.

    """

    def __init__(
        self, sink: str, reason: str, *, remedy: str, refused: bool = False, retry_in_seconds: float = 0.0
    ) -> None:
        self.refused = refused
        self.retry_in_seconds = retry_in_seconds
        super().__init__(f"sending to {sink} failed: {reason}; it is tried again by itself; {remedy}")


class Notifier(Protocol):
    """A messenger. ``byte_limit`` is how long title and text may be together, in bytes of UTF-8."""

    @property
    def name(self) -> str:
        """Tells one from another, without giving its address away."""

    @property
    def byte_limit(self) -> int:
        """Longer messages are cut into several before they are sent."""

    def send(self, message: Message) -> None:
        """Hand a message over; return only when the service said that it took it. Raises DeliveryError."""


def send_within(notifier: Notifier, message: Message, seconds: float) -> None:
    """Send a message, waiting for the answer for no longer than so many seconds, however slowly it trickles in.

    Raises DeliveryError; for a service that did not answer in time too, though it may have taken the message.
    """
    problems: list[Exception] = []

    def attempt() -> None:
        try:
            notifier.send(message)
        except Exception as error:  # noqa: BLE001 - handed to the caller below
            problems.append(error)

    # A thread, as time limits of sockets are of single reads; it ends with the limits of its own sender.
    thread = Thread(target=attempt, name=f"send to {notifier.name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise DeliveryError(notifier.name, f"no answer within {seconds:.0f} s", remedy="check that the service is up")
    if problems:
        raise problems[0]
