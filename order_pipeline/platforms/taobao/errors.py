"""Which of the platform's refusals is which kind of failure (Taobao contract §5).

Belongs here: the table from ``error_response`` to the classes of ``traffic.errors``, and the remedy of each.
Not here: failures below the envelope (client.py: network, HTTP status; decoding.py: broken answers).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from order_pipeline.traffic.errors import (
    AuthorizationError,
    CallerError,
    CallError,
    NotFoundError,
    NothingYetError,
    SessionError,
    ThrottledError,
    TransientError,
)

E = TypeVar("E", bound=CallError)

# A throttled answer without readable seconds: the recorded rate bans are 1 or 2 s (contract §5.3).
DEFAULT_BAN_SECONDS = 2.0
# No ban is believed to be longer than a day (the daily quota): a broken number must not stop a shop for ever.
LONGEST_BAN_SECONDS = 86_400.0

# The platform's words are quoted up to here: enough for every recorded message, one line on a screen.
QUOTED_CHARACTERS = 300

# Calls of this app were refused for their number; the message names the seconds (§5.3).
THROTTLED_CODES = frozenset({"7"})
THROTTLED_PREFIX = "accesscontrol.limited-by-"
# The service side stumbled or counts calls without naming a ban (§5.1).
RETRYABLE_CODES = frozenset({"4", "5", "6", "8", "10"})
# isp.* helps to retry, save these: the answer would be the same (§5.2).
LASTING_SERVICE_SUB_CODES = frozenset(
    {"isp.null-pointer-exception", "isp.top-parse-error", "isp.top-mapping-parse-error"}
)

SESSION_CODES = frozenset({"26", "27"})
SESSION_SUB_CODES = frozenset(
    {"session-expired", "session-not-exist", "invalid-sessionkey", "isv.invalid-session", "isv.session-expired"}
)
SIGNATURE_CODES = frozenset({"24", "25"})
APP_KEY_CODES = frozenset({"28", "29"})
APP_KEY_SUB_CODES = frozenset({"isv.appkey-not-exists"})
CLOCK_CODES = frozenset({"30", "31"})
CLOCK_SUB_CODES = frozenset({"isv.timestamp-limit-error", "isv.replayattack-timestamp-invalid-error"})
PERMISSION_CODES = frozenset({"11", "12", "13"})
PERMISSION_SUB_CODE_PREFIXES = ("isv.permission-", "isv.invalid-permission")
SECURITY_LEVEL_CODES = frozenset({"47", "53"})
IP_SUB_CODE = "isv.permission-ip-whitelist-limit"
# The same signed request came twice within a second; the next attempt has another timestamp and signature.
REPLAY_SUB_CODE = "isv.request-replay-error"

# That of refunds is not documented (§9); it is named after the same pattern.
NOT_FOUND_SUB_CODES = frozenset({"isv.trade-not-exist", "isv.refund-not-exist"})
# The detail behind the colon decides here: other details of isv.invalid-orderid are mistakes of the caller.
NOT_FOUND_DETAIL = "NO_DATA"
# "No trace" comes as a refusal (§3.7), and under isp. too, where it is no more of a failure.
NO_TRACE_SUB_CODES = frozenset({"isv.order-no-trace", "isp.order-no-trace"})

REAUTHORISE = (
    "re-authorise the shop: its owner grants access again with `order-pipeline authorize`, or put a new session_key "
    "into shops.yaml"
)
CHECK_SECRET = "check the shop's app_secret (and that app_key and app_secret belong together)"  # noqa: S105
CHECK_APP_KEY = "check the shop's app_key against the open platform's console"
FIX_CLOCK = (
    "this machine's clock is off by more than 10 minutes from the platform's: fix NTP (date and time zone), "
    "then run again"
)
ASK_PERMISSION = "apply for this API's permission package for the app in the open platform's console"
ALLOW_ADDRESS = "add this machine's public address to the app's IP whitelist in the open platform's console"
RAISE_LEVEL = (
    "the session's security level is too low for this call: raise the app's level in the console, then " + REAUTHORISE
)
WAIT = "nothing to do unless it lasts; the platform asks to call again later"
SLOW_DOWN = "lower the shop's calls_per_minute if it happens often"
NOT_SERVED = "nothing to do: the platform serves orders of the last three months that belong to the session's shop"
COMES_LATER = "nothing to do: it is asked for again"
REPORT = "this is a mistake in the call or in the platform's data; report it with the request number"

_BAN = re.compile(r"last\s+for\s+(\d{1,12})\s+more\s+second", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
# A signature or a session key that a message might echo: a long run of hexadecimal digits.
_LONG_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]{24,}")


class ErrorResponse(msgspec.Struct, frozen=True):
    """An ``error_response`` of the platform; ``code`` and ``sub_code`` are text whatever they came as."""

    code: str
    message: str
    sub_code: str
    sub_message: str
    request_id: str | None

    @property
    def full_code(self) -> str:
        """``code`` or ``code/sub_code``."""
        return f"{self.code}/{self.sub_code}" if self.sub_code else self.code


def error_response(fields: Mapping[str, Any], hidden: Iterable[str] = ()) -> ErrorResponse:
    """Read the fields of an ``error_response``; everything may be missing or of another type (§5).

    Args:
        fields: the object under ``error_response``.
        hidden: secrets that must not be quoted even if the platform echoes them.

    """

    def text(name: str) -> str:
        return quotable(fields.get(name), hidden)

    return ErrorResponse(text("code"), text("msg"), text("sub_code"), text("sub_msg"), text("request_id") or None)


def quotable(value: Any, hidden: Iterable[str] = ()) -> str:
    """Make words of the platform fit for a message: one printable line, not too long, without secrets."""
    quoted = "" if value is None or isinstance(value, dict | list) else str(value)[: 4 * QUOTED_CHARACTERS]
    for secret in hidden:
        if secret:
            quoted = quoted.replace(secret, "***")
    quoted = _LONG_HEXADECIMAL.sub("***", quoted)
    return _UNPRINTABLE.sub(" ", quoted).strip()[:QUOTED_CHARACTERS]


def classify(error: ErrorResponse, attempted: str) -> CallError:
    """Say what kind of failure a refusal is. Unknown codes are the caller's fault unless they name isp (§5.2).

    Args:
        error: the refusal.
        attempted: the call and what it was about.

    """
    code = error.code
    sub_code, _, detail = error.sub_code.partition(":")

    def build(kind: type[E], remedy: str) -> E:
        return kind(attempted, _reason(error), remedy=remedy, request_id=error.request_id)

    if code in THROTTLED_CODES or sub_code.startswith(THROTTLED_PREFIX):
        return ThrottledError(
            attempted,
            _reason(error),
            remedy=SLOW_DOWN,
            ban_seconds=ban_seconds(error.sub_message or error.message),
            request_id=error.request_id,
        )
    if code in SESSION_CODES or sub_code in SESSION_SUB_CODES:
        return build(SessionError, REAUTHORISE)
    if code in SIGNATURE_CODES:
        return build(AuthorizationError, CHECK_SECRET)
    if code in APP_KEY_CODES or sub_code in APP_KEY_SUB_CODES:
        return build(AuthorizationError, CHECK_APP_KEY)
    if code in CLOCK_CODES or sub_code in CLOCK_SUB_CODES:
        return build(AuthorizationError, FIX_CLOCK)
    if sub_code == IP_SUB_CODE:
        return build(AuthorizationError, ALLOW_ADDRESS)
    if code in PERMISSION_CODES or sub_code.startswith(PERMISSION_SUB_CODE_PREFIXES):
        return build(AuthorizationError, ASK_PERMISSION)
    if code in SECURITY_LEVEL_CODES:
        return build(AuthorizationError, RAISE_LEVEL)
    if sub_code == REPLAY_SUB_CODE:
        return build(TransientError, WAIT)
    if sub_code in NOT_FOUND_SUB_CODES or detail == NOT_FOUND_DETAIL:
        return build(NotFoundError, NOT_SERVED)
    if sub_code in NO_TRACE_SUB_CODES:
        return build(NothingYetError, COMES_LATER)
    if sub_code.startswith("isp."):
        lasting = sub_code in LASTING_SERVICE_SUB_CODES
        return build(CallerError, REPORT) if lasting else build(TransientError, WAIT)
    if code in RETRYABLE_CODES and not sub_code.startswith("isv."):
        return build(TransientError, WAIT)
    return build(CallerError, REPORT)


def ban_seconds(text: str) -> float:
    """Read the seconds of "This ban will last for N more seconds" (§5.3); DEFAULT_BAN_SECONDS if unreadable."""
    found = _BAN.search(text)
    return min(float(found.group(1)), LONGEST_BAN_SECONDS) if found else DEFAULT_BAN_SECONDS


def _reason(error: ErrorResponse) -> str:
    words = [f"the platform answered code {error.code or '(none)'}"]
    if error.message:
        words.append(f'"{error.message}"')
    if error.sub_code:
        words.append(f"sub_code {error.sub_code}")
    if error.sub_message:
        words.append(f'"{error.sub_message}"')
    return " ".join(words)
