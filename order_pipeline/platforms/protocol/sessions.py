"""How a shop lets an app in: tokens, who grants them, and the session that calls go under."""

from __future__ import annotations

from typing import Protocol

import msgspec

from order_pipeline.traffic.errors import CallError, SessionError


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What an authorisation brought. Lifetimes in seconds, as the answer says; the representation hides the secrets.

    ``expires_in``: how long ``access_token`` is a session. ``refresh_expires_in``: how long ``refresh_token`` can be
    exchanged for a new one; 0: not at all. ``account``: the seller's number, so that another seller is noticed.
    ``account_name``: for the person who authorises, not kept.
    """

    access_token: str
    refresh_token: str | None
    expires_in: int
    refresh_expires_in: int
    account: str | None
    account_name: str | None

    def __repr__(self) -> str:
        return f"Token(expires_in={self.expires_in}, refresh_expires_in={self.refresh_expires_in}, ***)"


class Authorizer(Protocol):
    """How an app gets tokens for a shop."""

    def page(self, redirect_uri: str, state: str) -> str:
        """Return the address where the shop's owner agrees; the browser comes back to ``redirect_uri`` with a code."""
        ...

    def exchange(self, code: str, redirect_uri: str) -> Token:
        """Exchange a code for a token. Made once only, as a code works once.

        Raises GrantRefusedError for a code that is wrong, used or expired, CallError without a usable answer.
        """
        ...

    def refresh(self, refresh_token: str) -> Token:
        """Exchange a refresh token for a new token, which may end the old one at once. Made once only.

        Raises RefreshLimitError when it was done too often lately (the old token goes on), GrantRefusedError when
        it will never work again, CallError without a usable answer.
        """
        ...


class Session(Protocol):
    """Where the calls of a shop learn the session they go under. Safe to use from several threads at once."""

    def key(self) -> str:
        """Return the session key that holds now, renewed where that is due. Asked before each attempt of a call.

        Raises SessionError when the shop is paused or has none.
        """
        ...

    def refused(self, key: str, error: SessionError, *, again: bool) -> CallError:
        """Return what to raise for a call that was refused under this key: retryable where it may yet go through.

        ``again``: it is not the first refusal that this call meets.
        """
        ...
