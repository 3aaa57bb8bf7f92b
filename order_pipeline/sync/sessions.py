"""The session that a shop's calls go under: the stored token, renewed in time, or the configured key.

Belongs here: which session holds, renewing it, pausing a shop whose session is refused for good. Not here: the rules
of renewal (renewal.py), the authorisation itself (authorizing.py).

The stored token counts more than ``session_key``: it is the one that is renewed, and it was obtained by somebody who
wanted it used; ``order-pipeline authorize SHOP --forget`` lets the configured key count again. All that is known is in
Postgres, so what one process renews, ends or pauses the others know at their next look.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import RLock
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.configuration import Shop
from order_pipeline.platforms.protocol import Authorizer, Token
from order_pipeline.sync.actor import actor
from order_pipeline.sync.renewal import Verdict, command_for, is_due, judge, lifetimes, put_off
from order_pipeline.sync.sealing import Secrets, fingerprint, seal, unseal
from order_pipeline.traffic.errors import CallError, SessionError, SessionUncertainError
from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.pauses import Pause, begin_pause, end_pause, read_pause
from order_pipeline.warehouse.tokens import TokenRow, put_renewal_off, read_token_row, renewal_lock, store_token

logger = logging.getLogger(__name__)

# Threads of one process share a look this long; a refusal makes them look at once.
LOOK_SECONDS = 1.0


class _Held(NamedTuple):
    """What the last look found. ``print`` tells the session, None where there is none."""

    row: TokenRow | None
    pause: Pause | None
    print: str | None

    @property
    def is_paused(self) -> bool:
        """A pause is of one session; another one ends it."""
        return self.pause is not None and self.pause.fingerprint == self.print


class ShopSession:
    """One shop's session over all processes; implements ``platforms.protocol.Session``. Safe for several threads."""

    def __init__(
        self,
        shop: Shop,
        engine: Engine,
        authorizer: Callable[[bool], Authorizer],
        *,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            shop: whose session.
            engine: of the warehouse.
            authorizer: makes what renews tokens, through the gateway or not.
            clock: aware time; this machine's if left out.

        """
        self._shop = shop
        self._engine = engine
        self._authorizer = authorizer
        self._clock = clock or (lambda: datetime.now(UTC))
        self._held = _Held(None, None, None)
        self._looked_at = -math.inf
        self._opened: tuple[str, Secrets] | None = None
        self._turn = RLock()

    def key(self) -> str:
        """Return the session key that holds now, renewed where that is due.

        Raises:
            SessionError: the shop is paused, or was never authorised.
            ConfigurationError: the stored token cannot be opened.

        """
        with self._turn:
            if time.monotonic() - self._looked_at > LOOK_SECONDS:
                self._look()
            reason = self._reason()
            if reason:
                raise SessionError(f"calling for shop {self._shop.id}", reason, remedy=self._remedy())
            if self._held.pause:
                self.resume("there is another session")
            if self._held.row and is_due(self._held.row, self._clock()):
                self._renew_ahead()
            return self._key()

    def refused(self, key: str, error: SessionError, *, again: bool) -> CallError:
        """Return what to raise for a call that was refused under this key, and pause the shop where that is final."""
        with self._turn, renewal_lock(self._engine, self._shop.id):
            # Whoever held the lock may just have renewed it.
            self._look()
            if self._held.is_paused:
                return error
            row = self._held.row
            verdict = judge(row, self._clock(), was_replaced=self._key() != key, again=again)
            if verdict is Verdict.RENEW and row:
                problem = self._renew(row)
                if problem is None:
                    verdict = Verdict.ASK_AGAIN
                else:
                    self._look()
                    verdict = judge(self._held.row, self._clock(), was_replaced=False, again=True)
            if verdict is Verdict.PAUSE:
                self._pause(key, error)
                return error
            waits = verdict is Verdict.WAIT
            return SessionUncertainError(
                error.attempted,
                error.reason,
                remedy="the token is renewed in a minute" if waits else "it is asked again by itself",
                request_id=error.request_id,
            )

    def hold(self) -> str | None:
        """Return why the shop is left alone (paused, never authorised), None when it can be worked on. Calls nobody."""
        with self._turn:
            self._look()
            reason = self._reason()
            return f"{reason}; {self._remedy()}" if reason else None

    def ready(self) -> str | None:
        """Return why the shop is left alone, as ``hold`` does, and otherwise see to it that its token can be opened.

        Raises ConfigurationError when it cannot: that is better said before any work than in the middle of it.
        """
        with self._turn:
            reason = self.hold()
            if reason is None:
                self._key()
            return reason

    def pause(self) -> Pause | None:
        """Return the pause that holds, None when the shop is not paused."""
        with self._turn:
            self._look()
            return self._held.pause if self._held.is_paused else None

    def token(self) -> TokenRow | None:
        """Return what is known of the stored token, its secrets sealed."""
        with self._turn:
            self._look()
            return self._held.row

    def fingerprint(self) -> str | None:
        """Return what tells the session that counts from others, None when there is none."""
        with self._turn:
            self._look()
            return self._held.print

    def current_key(self) -> str:
        """Return the session key that counts, even of a paused shop: for a person who wants to try it."""
        with self._turn:
            self._look()
            return self._key()

    def resume(self, why: str) -> None:
        """End the shop's pause."""
        with self._turn:
            with transaction(self._engine) as connection:
                if end_pause(connection, self._shop.id, why, actor()):
                    logger.warning("shop %s is no longer paused: %s", self._shop.id, why)
            self._look()

    def _look(self) -> None:
        shop = self._shop
        with transaction(self._engine) as connection:
            row = read_token_row(connection, shop.id, shop.app_key)
            pause = read_pause(connection, shop.id)
        configured = fingerprint(shop.session_key, shop.app_secret) if shop.session_key else None
        self._held = _Held(row, pause, row.fingerprint if row else configured)
        self._looked_at = time.monotonic()

    def _reason(self) -> str | None:
        if self._held.print is None:
            return "it has not been authorised yet: no token is stored, and no session_key is configured"
        pause = self._held.pause
        if pause and self._held.is_paused:
            since = f"{pause.paused_at.astimezone(UTC):%F %T} UTC"
            return f"paused since {since} (noticed by {pause.paused_by}): {pause.reason}"
        return None

    def _remedy(self) -> str:
        other = "" if self._held.row else ", or put a new session_key into shops.yaml"
        return f"authorise it: {command_for(self._shop.id)}{other}"

    def _key(self) -> str:
        row = self._held.row
        return self._secrets(row).access_token if row else self._shop.session_key

    def _secrets(self, row: TokenRow) -> Secrets:
        if self._opened is None or self._opened[0] != row.sealed:
            self._opened = (row.sealed, unseal(row.sealed, self._shop.id))
        return self._opened[1]

    def _renew_ahead(self) -> None:
        with renewal_lock(self._engine, self._shop.id):
            # Another process may have done it while we waited for the lock.
            self._look()
            row = self._held.row
            if row and is_due(row, self._clock()):
                problem = self._renew(row)
                if problem:
                    # What is there goes on for as long as the platform takes it.
                    logger.warning("shop %s: %s; going on with the token that is there", self._shop.id, problem)
                    self._look()

    def _renew(self, row: TokenRow) -> CallError | None:
        """Renew the token and return None, or note why not and return that. Only under the renewal lock."""
        refresh_token = self._secrets(row).refresh_token or ""
        asked_at = self._clock()
        try:
            token = self._authorizer(row.through_gateway).refresh(refresh_token)
        except CallError as error:
            with transaction(self._engine) as connection:
                put_renewal_off(connection, self._shop.id, put_off(error, asked_at), error.reason)
            return error
        renewed = token_row(self._shop, token, asked_at, through_gateway=row.through_gateway, earlier=row)
        store_surely(self._engine, renewed)
        self._look()
        logger.info("shop %s: the token was renewed, it is good until %s", self._shop.id, renewed.ends_at)
        return None

    def _pause(self, key: str, error: SessionError) -> None:
        with transaction(self._engine) as connection:
            begin_pause(
                connection,
                self._shop.id,
                fingerprint(key, self._shop.app_secret),
                f"{error.attempted}: {error.reason}",
                f"{actor()}, process {os.getpid()}",
            )
        self._look()
        logger.error("shop %s is paused until it is authorised again: %s", self._shop.id, error.reason)


def token_row(
    shop: Shop,
    token: Token,
    asked_at: datetime,
    *,
    through_gateway: bool,
    earlier: TokenRow | None = None,
    by: str = "",
) -> TokenRow:
    """Return the row for a token: of a new authorisation, or of an ``earlier`` row that was renewed."""
    ends_at, refresh_ends_at, next_refresh_at = lifetimes(token, asked_at)
    return TokenRow(
        shop_id=shop.id,
        app_key=shop.app_key,
        sealed=seal(Secrets(token.access_token, token.refresh_token)),
        fingerprint=fingerprint(token.access_token, shop.app_secret),
        account=token.account or (earlier.account if earlier else None),
        through_gateway=through_gateway,
        authorised_at=earlier.authorised_at if earlier else asked_at,
        authorised_by=earlier.authorised_by if earlier else by,
        obtained_at=asked_at,
        ends_at=ends_at,
        refresh_ends_at=refresh_ends_at,
        next_refresh_at=next_refresh_at,
        refresh_problem=None,
        refreshes=earlier.refreshes + 1 if earlier else 0,
    )


def store_surely(engine: Engine, row: TokenRow, *, ended_by: str | None = None) -> None:
    """Store a token; ``ended_by``: who thereby ends the shop's pause.

    Again while the database stumbles: a renewed token that is not stored is lost, and the old one may have ended
    with it.
    """

    def work(connection: Connection) -> None:
        store_token(connection, row)
        if ended_by:
            end_pause(connection, row.shop_id, "authorised again", ended_by)

    in_transaction(engine, work)
