"""Who may call for whom: authorisation codes, tokens, and the sessions they are (contract 2).

Belongs here: issuing, refreshing, expiring and withdrawing. Not here: the OAuth pages over HTTP (``oauth``), the
gateway's own methods for it (``methods.authorization``). Not thread-safe: the marketplace holds the lock.
Moments are milliseconds since 1970.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from order_pipeline.sandbox.continuity import SandboxState, Token
from order_pipeline.sandbox.errors import invalid_session
from order_pipeline.sandbox.people import open_uid
from order_pipeline.sandbox.shops import Shop

# How long a code may wait to be exchanged is not established; ten minutes is what OAuth 2.0 recommends at most.
CODE_LIFETIME_MS = 600_000
REFRESH_WINDOW_MS = 3_600_000


class TokenLifetimes(msgspec.Struct, frozen=True, kw_only=True):
    """Lifetimes in seconds, as recorded of a sandbox shop (contract 2); ``re_expires_in`` 0 means no refresh."""

    expires_in: int = 12_960_000
    re_expires_in: int = 15_552_000
    r1_expires_in: int = 12_960_000
    r2_expires_in: int = 259_200
    w1_expires_in: int = 12_960_000
    w2_expires_in: int = 1_800


class AuthorizationRules(msgspec.Struct, frozen=True, kw_only=True):
    """How the platform authorises; none of these numbers is established for the platform of today.

    With ``configured_sessions`` the shops' own session keys are good without any authorisation.
    """

    lifetimes: TokenLifetimes = TokenLifetimes()
    refreshes_per_hour: int = 20
    configured_sessions: bool = True


DEFAULT_RULES = AuthorizationRules()


class TokenError(Exception):
    """A refused request for a token, with OAuth's ``error`` and ``error_description``."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description


class _Code(msgspec.Struct, frozen=True):
    shop_id: str
    redirect_uri: str | None
    expires_ms: int


class Authority:
    """Gives and takes authorisations; there is one token for each app and shop."""

    def __init__(
        self,
        shops: Mapping[str, Shop],
        state: SandboxState,
        rules: AuthorizationRules,
        *,
        keep: Callable[[], None],
    ) -> None:
        """Go on with the tokens of ``state``; ``keep`` is called when they have changed."""
        self._shops = shops
        self._tokens = state.tokens
        self._rules = rules
        self._keep = keep
        self._codes: dict[str, _Code] = {}
        self._refreshed: dict[str, deque[int]] = {}
        self._expired: set[str] = set()
        self._withdrawn: set[str] = set()

    # --- sessions ---------------------------------------------------------------------------------------------

    def shop_of(self, session: str, now_ms: int) -> Shop | None:
        """Return the shop that a session opens; code 27 if it has expired, None if there is no such session."""
        for shop in self._shops.values():
            token = self._tokens.get(shop.id)
            issued = token is not None and token.access_token == session
            if not issued and not (self._rules.configured_sessions and shop.session_key == session):
                continue
            if session in self._withdrawn:
                return None
            if session in self._expired or (token is not None and issued and now_ms >= token.expires_ms):
                raise invalid_session("session-expired")
            return shop
        return None

    def _sessions(self, shop_id: str) -> list[str]:
        token = self._tokens.get(shop_id)
        return [self._shops[shop_id].session_key, *([token.access_token] if token else ())]

    def expire(self, shop_id: str) -> None:
        """Let a shop's sessions expire now."""
        self._expired.update(self._sessions(shop_id))

    def renew(self, shop_id: str) -> None:
        """Make the sessions that ``expire`` and ``withdraw`` ended good again, except a withdrawn token."""
        self._expired.difference_update(self._sessions(shop_id))
        self._withdrawn.difference_update(self._sessions(shop_id))

    def withdraw(self, shop_id: str) -> None:
        """End every session of a shop, and its refresh token."""
        self._withdrawn.add(self._shops[shop_id].session_key)
        if self._tokens.pop(shop_id, None) is not None:
            self._keep()

    # --- tokens -----------------------------------------------------------------------------------------------

    def approve(self, app_key: str, redirect_uri: str | None, shop_id: str | None, now_ms: int) -> str:
        """Return a code with which the app gets a token for a shop, by default its first. TokenError."""
        shops = [shop for shop in self._shops.values() if shop.app_key == app_key and shop_id in (None, shop.id)]
        if not shops:
            raise TokenError("invalid_client", "no such client_id, or it has no such shop")
        self._codes = {code: kept for code, kept in self._codes.items() if kept.expires_ms > now_ms}
        code = secrets.token_urlsafe(24)
        self._codes[code] = _Code(shops[0].id, redirect_uri, now_ms + CODE_LIFETIME_MS)
        return code

    def exchange(self, app_key: str, code: str, now_ms: int, redirect_uri: str | None = None) -> dict[str, Any]:
        """Return the token for a code; the shop's earlier token ends. TokenError. ``redirect_uri`` None is not checked.

        A code works once.
        """
        kept = self._codes.get(code)
        if kept is None or kept.expires_ms <= now_ms or self._shops[kept.shop_id].app_key != app_key:
            raise TokenError("invalid_grant", "authorize code is invalid or expired")
        if redirect_uri is not None and redirect_uri != kept.redirect_uri:
            raise TokenError("invalid_grant", "redirect_uri does not match the one of the authorize request")
        del self._codes[code]
        return self._issue(self._shops[kept.shop_id], now_ms)

    def refresh(self, app_key: str, refresh_token: str, now_ms: int) -> dict[str, Any]:
        """Return a new token, which replaces the one it refreshes. TokenError."""
        for shop_id, token in self._tokens.items():
            shop = self._shops[shop_id]
            if token.refresh_token == refresh_token and shop.app_key == app_key:
                break
        else:
            raise TokenError("invalid_grant", "refresh_token is invalid")
        if now_ms >= token.refresh_expires_ms:
            raise TokenError("invalid_grant", "refresh_token is expired")
        times = self._refreshed.setdefault(shop_id, deque())
        while times and times[0] <= now_ms - REFRESH_WINDOW_MS:
            times.popleft()
        if len(times) >= self._rules.refreshes_per_hour:
            # The recording has the description only; error is not established.
            raise TokenError("invalid_request", "refresh times limit exceed")
        times.append(now_ms)
        return self._issue(shop, now_ms)

    def _issue(self, shop: Shop, now_ms: int) -> dict[str, Any]:
        lifetimes = self._rules.lifetimes
        token = Token(
            access_token=_token_text("6200", shop),
            refresh_token=_token_text("6202", shop),
            expires_ms=now_ms + lifetimes.expires_in * 1000,
            refresh_expires_ms=now_ms + lifetimes.re_expires_in * 1000,
        )
        self._tokens[shop.id] = token
        self._keep()
        spans: dict[str, int] = msgspec.to_builtins(lifetimes)
        valid = {
            name.replace("_expires_in", "_valid"): now_ms + seconds * 1000
            for name, seconds in spans.items()
            if name not in ("expires_in", "re_expires_in")
        }
        return {
            **spans,
            **valid,
            "access_token": token.access_token,
            "refresh_token": token.refresh_token,
            "token_type": "Bearer",
            "expire_time": token.expires_ms,
            "refresh_token_valid_time": token.refresh_expires_ms,
            "taobao_user_id": str(shop.user_id),
            "taobao_user_nick": quote(shop.seller_nick),
            "taobao_open_uid": open_uid(shop.user_id, shop.app_key),
        }


def _token_text(prefix: str, shop: Shop) -> str:
    # Recorded tokens begin with the kind of authorisation and end with the seller's number.
    return f"{prefix}{secrets.token_hex(16)}{shop.user_id}"


def shops_of(shops: Collection[Shop], app_key: str) -> list[Shop]:
    """Return the shops that one app serves."""
    return [shop for shop in shops if shop.app_key == app_key]
