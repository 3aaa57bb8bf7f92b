"""Taobao's tokens: where a seller agrees, and how codes and refresh tokens are exchanged (Taobao contract §2).

Belongs here: the OAuth addresses, the two gateway methods that do the same, and reading their answer. Not here: when
a token is refreshed and where it is kept (sync), nor how bytes travel (transport.py).

Nothing here is made twice by itself: a code works once, and a refresh may have ended the old token although its
answer was lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote, urlencode

import msgspec

from order_pipeline.platforms.protocol import Answer, Token
from order_pipeline.platforms.taobao.client import TaobaoClient, TaobaoCredentials
from order_pipeline.platforms.taobao.decoding import Envelope, malformed
from order_pipeline.platforms.taobao.errors import quotable
from order_pipeline.platforms.taobao.transport import DEFAULT_LIMITS, Limits, Transport
from order_pipeline.traffic.breaker import Kind
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import (
    AuthorizationError,
    CallerError,
    GrantRefusedError,
    RefreshLimitError,
    TransientError,
)
from order_pipeline.traffic.gate import Gate
from order_pipeline.traffic.retry import RetrySettings

OAUTH_URL = "https://oauth.taobao.com"
# A browser on a desk; the other view is for phones and another host (§2).
VIEW = "web"

CREATE = "taobao.top.auth.token.create"
REFRESH = "taobao.top.auth.token.refresh"

ONCE = RetrySettings(attempts=1)

# In error_description; four independent clients take it for "the token is still fine" (§2).
LIMIT_WORDS = "refresh times limit exceed"
# OAuth's word for a wrong app key or secret: no new code would help.
WRONG_APP = "invalid_client"

AUTHORISE_AGAIN = "authorise anew with a fresh code: order-pipeline authorize"
CHECK_APP = "check the shop's app_key and app_secret, and that oauth_url belongs to the same platform"
WAIT_FOR_REFRESH = "nothing to do: the token that is there goes on, and is refreshed later"
CHECK_OAUTH = "check the network, and the shop's oauth_url"


class TaobaoAuthorizer:
    """Gets tokens of one app; implements ``protocol.Authorizer``."""

    def __init__(
        self,
        credentials: TaobaoCredentials,
        call_log: CallLog,
        *,
        oauth_url: str | None = None,
        through_gateway: bool = False,
        limits: Limits = DEFAULT_LIMITS,
        gate: Gate | None = None,
    ) -> None:
        """Prepare; nothing is called yet.

        Args:
            credentials: of the app; a session is not needed.
            call_log: calls of the gateway are written into it.
            oauth_url: the OAuth server, to which /authorize and /token are added; Taobao's if left out.
            through_gateway: exchange at the gateway instead of the OAuth server's /token.
            limits: of an answer's time and size.
            gate: calls of the gateway pass it; one that stands open if left out.

        """
        self._credentials = credentials
        self._oauth_url = (oauth_url or OAUTH_URL).rstrip("/")
        self._through_gateway = through_gateway
        self._transport = Transport(f"{self._oauth_url}/token", limits)
        self._client = TaobaoClient(credentials, call_log, limits=limits)
        self._gate = gate or Gate()

    def page(self, redirect_uri: str, state: str) -> str:
        """Return the address where the shop's owner agrees."""
        asked = {
            "response_type": "code",
            "client_id": self._credentials.app_key,
            "redirect_uri": redirect_uri,
            "state": state,
            "view": VIEW,
        }
        return f"{self._oauth_url}/authorize?{urlencode(asked)}"

    def exchange(self, code: str, redirect_uri: str) -> Token:
        """Exchange a code.

        Raises:
            GrantRefusedError: it is wrong, used or expired.
            CallError: no usable answer.

        """
        if self._through_gateway:
            return self._ask_gateway(CREATE, {"code": code})
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        return self._ask_oauth("exchanging an authorisation code", form, hidden=(code,))

    def refresh(self, refresh_token: str) -> Token:
        """Exchange a refresh token.

        Raises:
            RefreshLimitError: it was done too often lately.
            GrantRefusedError: it is no longer good.
            CallError: no usable answer.

        """
        if self._through_gateway:
            return self._ask_gateway(REFRESH, {"refresh_token": refresh_token})
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self._ask_oauth("refreshing the token", form, hidden=(refresh_token,))

    def _ask_oauth(self, doing: str, form: Mapping[str, str], *, hidden: Collection[str]) -> Token:
        credentials = self._credentials
        attempted = f"{doing} of shop {credentials.shop_id} at {self._transport.host}"
        app = {"client_id": credentials.app_key, "client_secret": credentials.app_secret}
        reply = self._transport.post(urlencode({**form, **app}).encode("ascii"), attempted=attempted)
        if reply.status >= 500:
            raise TransientError(attempted, f"HTTP status {reply.status}", remedy=CHECK_OAUTH)
        try:
            fields = msgspec.json.decode(reply.body)
        except msgspec.DecodeError:
            fields = None
        if not isinstance(fields, dict):
            raise malformed(attempted, f"HTTP status {reply.status} and no JSON object")
        if reply.status == 200 and "error" not in fields:
            return read_token(fields, attempted)
        words = [
            quotable(fields.get(name), (credentials.app_secret, *hidden)) for name in ("error", "error_description")
        ]
        raise refusal(attempted, ": ".join(word for word in words if word) or f"HTTP status {reply.status}")

    def _ask_gateway(self, method: str, params: dict[str, str]) -> Token:
        attempted = f"{method} of shop {self._credentials.shop_id}"

        def read(envelope: Envelope, _answer: Answer) -> Token:
            # A JSON text inside the JSON (§2).
            try:
                fields = msgspec.json.decode(str(envelope.payload.get("token_result")))
            except msgspec.DecodeError:
                fields = None
            if not isinstance(fields, dict):
                raise malformed(attempted, "token_result is no JSON object")
            return read_token(fields, attempted)

        def attempt() -> Token:
            return self._client.call(method, params, read, session="", payload_keys=("token_result",))

        try:
            return self._gate.call(Kind.DETAIL, attempt, ONCE, attempted=attempted)
        except CallerError as error:
            # How the gateway words these refusals is not established: its own codes say no more than that it is one.
            raise refusal(attempted, error.reason, request_id=error.request_id) from None


def refusal(attempted: str, words: str, *, request_id: str | None = None) -> AuthorizationError:
    """Say what kind of failure a refused request for a token is."""
    reason = f"the platform answered {words}"
    if LIMIT_WORDS in words.lower():
        return RefreshLimitError(attempted, reason, remedy=WAIT_FOR_REFRESH, request_id=request_id)
    remedy = CHECK_APP if words.startswith(WRONG_APP) else AUTHORISE_AGAIN
    kind = AuthorizationError if words.startswith(WRONG_APP) else GrantRefusedError
    return kind(attempted, reason, remedy=remedy, request_id=request_id)


def read_token(fields: Mapping[str, Any], attempted: str) -> Token:
    """Read the fields of a token. Lifetimes are what they say: nothing is taken for granted (§2).

    Raises:
        MalformedAnswerError: there is no token in it, or not for how long it is good.

    """
    access_token = fields.get("access_token")
    if not isinstance(access_token, str) or not access_token:
        raise malformed(attempted, "there is no access_token in it")
    expires_in = _seconds(fields.get("expires_in"))
    if not expires_in:
        raise malformed(attempted, "expires_in is no number of seconds")
    refresh_token = fields.get("refresh_token")
    can_refresh = isinstance(refresh_token, str) and refresh_token
    # Of a sub-account the tokens are the shop's all the same; the main account is what tells shops apart.
    account, name = fields.get("taobao_user_id"), fields.get("taobao_user_nick")
    return Token(
        access_token=access_token,
        refresh_token=str(refresh_token) if can_refresh else None,
        expires_in=expires_in,
        refresh_expires_in=(_seconds(fields.get("re_expires_in")) or 0) if can_refresh else 0,
        account=quotable(account) or None,
        account_name=quotable(unquote(name)) or None if isinstance(name, str) else None,
    )


def _seconds(value: Any) -> int | None:
    """Read a number of seconds that may come as text; None if it is none, or absurd."""
    try:
        seconds = int(value) if isinstance(value, int | str) else -1
    except ValueError:
        return None
    # A hundred years: beyond it, dates cannot be reckoned with.
    return seconds if 0 <= seconds <= 3_153_600_000 else None
