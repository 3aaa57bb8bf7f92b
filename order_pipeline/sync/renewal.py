"""When a token is renewed, and what a refusal of it means. Pure: time is passed in.

Belongs here: the rules. Not here: asking the platform, storing (sessions.py).
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

from order_pipeline.platforms.protocol import Token
from order_pipeline.traffic.errors import CallError, GrantRefusedError, RefreshLimitError
from order_pipeline.warehouse.tokens import TokenRow

# Renewed when four fifths of the shorter lifetime are over: of 30 days six are left for a platform that is away, and
# of one day five hours. Lifetimes themselves are always those of the answer.
RENEW_AFTER = 0.8
# After a try that brought no answer.
TRY_AGAIN = timedelta(minutes=1)
# "refresh times limit exceed" names no time; clients that come back after an hour are known to get through.
LIMIT_LASTS = timedelta(hours=1)
# A token refused this soon after it was renewed is not mended by renewing it again.
JUST_RENEWED = timedelta(minutes=1)
# What ends sooner than this and cannot be renewed is said aloud.
ENDS_SOON = timedelta(days=7)


class Verdict(enum.Enum):
    """What to do about a refused session."""

    ASK_AGAIN = "ask again"
    RENEW = "renew"
    WAIT = "wait"
    PAUSE = "pause"


def lifetimes(token: Token, asked_at: datetime) -> tuple[datetime, datetime | None, datetime | None]:
    """Return until when a token is good, until when it can be refreshed (None: not at all), and from when it shall be.

    By the moment the request left, so never later than the platform reckons.
    """
    ends_at = asked_at + timedelta(seconds=token.expires_in)
    if not token.refresh_expires_in:
        return ends_at, None, None
    shorter = timedelta(seconds=min(token.expires_in, token.refresh_expires_in))
    return ends_at, asked_at + timedelta(seconds=token.refresh_expires_in), asked_at + shorter * RENEW_AFTER


def is_due(row: TokenRow, now: datetime) -> bool:
    """Return whether a token shall be renewed now."""
    return row.next_refresh_at is not None and row.next_refresh_at <= now


def put_off(error: CallError, now: datetime) -> datetime | None:
    """Return when to try again to renew a token after a try that failed; None: not any more."""
    if isinstance(error, RefreshLimitError):
        return now + LIMIT_LASTS
    return None if isinstance(error, GrantRefusedError) else now + TRY_AGAIN


def judge(row: TokenRow | None, now: datetime, *, was_replaced: bool, again: bool) -> Verdict:
    """Decide about a session that the platform refused.

    One refusal is asked again: a node of the platform may not have heard yet of a token that another one gave. The
    second renews the token where that can be; only then the shop is paused.

    Args:
        row: the stored token behind the session, None for a configured one.
        now: aware.
        was_replaced: another session is there by now than the one that was refused.
        again: the same call was refused before.

    """
    if was_replaced or not again:
        return Verdict.ASK_AGAIN
    if row is None or row.next_refresh_at is None or now < row.obtained_at + JUST_RENEWED:
        return Verdict.PAUSE
    if row.refresh_problem is None or row.next_refresh_at <= now:
        return Verdict.RENEW
    # It was tried a moment ago and brought no answer: that is no reason to send for a person.
    return Verdict.WAIT if row.next_refresh_at <= now + TRY_AGAIN else Verdict.PAUSE


def days_left(moment: datetime, now: datetime) -> float:
    """Return the days until a moment, with one decimal; below zero: it has passed."""
    return round((moment - now) / timedelta(days=1), 1)


def describe(row: TokenRow, now: datetime) -> str:
    """Say how long a token is good and what becomes of it then."""
    left = days_left(row.ends_at, now)
    ends = f"ends in {left} days ({row.ends_at:%F %H:%M} UTC)" if left > 0 else f"ended {-left} days ago"
    if row.refresh_ends_at is None:
        return f"token {ends}; it cannot be refreshed, so authorise again before: {command_for(row.shop_id)}"
    if row.next_refresh_at is None:
        return f"token {ends}; {row.refresh_problem}; authorise again before: {command_for(row.shop_id)}"
    problem = f" (the last try: {row.refresh_problem})" if row.refresh_problem else ""
    return f"token {ends}; it is refreshed by itself from {row.next_refresh_at:%F %H:%M} UTC on{problem}"


def needs_person(row: TokenRow, now: datetime) -> bool:
    """Return whether a token ends soon and nothing but a new authorisation helps."""
    return row.next_refresh_at is None and row.ends_at - now < ENDS_SOON


def command_for(shop_id: str) -> str:
    """Return the command that authorises a shop."""
    return f"order-pipeline authorize {shop_id}"
