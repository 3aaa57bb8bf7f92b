"""What can go wrong with a call, whatever the platform: the small taxonomy that retry and reports decide by.

Belongs here: the classes and the one sentence they print. Not here: how a platform's codes map to
them (platforms/<name>/errors.py), nor how long to wait (retry.py).
"""

from __future__ import annotations

from typing import ClassVar


class CallError(Exception):
    """A call that brought no usable answer.

    The message is one line that a person on call can act upon: what was attempted, on what, why it
    failed, whether a retry helps and what to do. It never holds a secret or personal data.

    Attributes:
        attempted: the call and what it was about, e.g. ``taobao.trade.fullinfo.get of order 123, shop a``.
        reason: why it failed, in the platform's words and codes where there are any.
        remedy: what a person can do.
        request_id: the platform's own number of the call, where it sent one.

    """

    retryable: ClassVar[bool] = False

    def __init__(self, attempted: str, reason: str, *, remedy: str, request_id: str | None = None) -> None:
        self.attempted = attempted
        self.reason = reason
        self.remedy = remedy
        self.request_id = request_id
        request = f" (request {request_id})" if request_id else ""
        retry = "a retry may help" if self.retryable else "a retry does not help"
        super().__init__(f"{attempted} failed: {reason}{request}; {retry}; {remedy}")


class TransientError(CallError):
    """The network, the gateway or the platform's service side stumbled; the same call may go through."""

    retryable = True


class MalformedAnswerError(CallError):
    """Something came back that is no answer of the contract. Never read as "no data"; worth asking again."""

    retryable = True


class ThrottledError(CallError):
    """The platform refused the call for its number. It says for how long.

    Attributes:
        ban_seconds: how long the platform will go on refusing, in seconds.

    """

    retryable = True

    def __init__(
        self, attempted: str, reason: str, *, remedy: str, ban_seconds: float, request_id: str | None = None
    ) -> None:
        super().__init__(attempted, reason, remedy=remedy, request_id=request_id)
        self.ban_seconds = ban_seconds


class HeldBackError(ThrottledError):
    """Our own budget did not let the call leave in time, so it was not made. Waiting was tried already."""


class BreakerOpenError(CallError):
    """The breaker is open: too many calls failed lately, so this one was not made.

    Attributes:
        retry_in_seconds: when the breaker lets a probe through next.

    """

    retryable = True

    def __init__(self, attempted: str, reason: str, *, remedy: str, retry_in_seconds: float) -> None:
        super().__init__(attempted, reason, remedy=remedy)
        self.retry_in_seconds = retry_in_seconds


class AuthorizationError(CallError):
    """The session, the app key or the signature is not accepted: a person has to act."""


class SessionError(AuthorizationError):
    """The shop's session has expired, was withdrawn, or is not there: its owner has to authorise again."""


class GrantRefusedError(AuthorizationError):
    """The platform gives no token for this code or refresh token."""


class RefreshLimitError(AuthorizationError):
    """A token was refreshed too often lately; the one that is there goes on."""


class SessionUncertainError(CallError):
    """A session was refused that may be good the next time: it was replaced meanwhile, or refused just once."""

    retryable = True


class CallerError(CallError):
    """The platform says the call itself is wrong. Asking again the same way brings the same answer."""


class OutcomeUnknownError(CallError):
    """A call that changes something brought no answer: it was carried out or not. Look before doing it again."""


class NotFoundError(CallerError):
    """The platform does not know the thing asked for, or serves it no longer."""


class NothingYetError(NotFoundError):
    """The platform has nothing to show of it so far: an answer like any other."""
