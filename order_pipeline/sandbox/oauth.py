"""The OAuth server: /oauth/authorize and /oauth/token (contract 2).

Belongs here: parameters, redirects and the shape of errors. Not here: what a token is (``authorization``), HTTP
itself (``server``).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from order_pipeline.sandbox.authorization import TokenError, shops_of
from order_pipeline.sandbox.marketplace import Marketplace

# Under these names the two addresses can be struck by the faults that replace or hold back an answer.
AUTHORIZE, TOKEN = "oauth.authorize", "oauth.token"
# An app without an address of its own asks for this one and has its user copy the code from the page.
OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"

_JSON = "application/json;charset=UTF-8"
_HTML = "text/html;charset=UTF-8"


class Page(msgspec.Struct, frozen=True):
    """An answer of the OAuth server."""

    status: int
    body: bytes = b""
    content_type: str = _JSON
    location: str | None = None
    delay_seconds: float = 0.0


def authorize(marketplace: Marketplace, parameters: Mapping[str, str]) -> Page:
    """Send the browser back with a code: the seller always agrees, unless the call says ``deny=true``.

    ``shop`` says which of the app's shops logs in, by default the first.
    """
    redirect_uri, app_key = parameters.get("redirect_uri", ""), parameters.get("client_id", "")
    if not redirect_uri or not shops_of(marketplace.shops.values(), app_key):
        # Whom to send back to is not known, so the browser stays here.
        return _refused(TokenError("invalid_client", "client_id or redirect_uri is missing or unknown"))
    answer: dict[str, str] = {}
    if parameters.get("response_type") != "code":
        answer = {"error": "unsupported_response_type", "error_description": "only response_type=code"}
    elif parameters.get("deny") == "true":
        answer = {"error": "access_denied", "error_description": "authorize reject"}
    else:
        with marketplace.looking() as now_ms:
            try:
                code = marketplace.authority.approve(app_key, redirect_uri, parameters.get("shop"), now_ms)
            except TokenError as error:
                return _refused(error)
        answer = {"code": code}
    if "state" in parameters:
        answer["state"] = parameters["state"]
    if redirect_uri == OUT_OF_BAND:
        shown = "".join(
            f'<p>{escape(name)}: <code id="{escape(name)}">{escape(answer[name])}</code></p>' for name in answer
        )
        return Page(200, f"<html><body>{shown}</body></html>".encode(), _HTML)
    joint = "&" if urlsplit(redirect_uri).query else "?"
    return Page(302, location=redirect_uri + joint + urlencode(answer, quote_via=quote))


def token(marketplace: Marketplace, form: Mapping[str, str]) -> Page:
    """Exchange a code or a refresh token; every failure is HTTP 400 with error and error_description."""
    faults = marketplace.faults
    delay = faults.delay_seconds(TOKEN)
    if damage := faults.outage(TOKEN):
        return Page(damage.status, damage.body, damage.content_type, delay_seconds=delay)
    marketplace.calls[TOKEN] += 1
    try:
        fields = _granted(marketplace, form)
    except TokenError as error:
        return _refused(error, delay)
    return Page(200, msgspec.json.encode(fields), delay_seconds=delay)


def _granted(marketplace: Marketplace, form: Mapping[str, str]) -> dict[str, Any]:
    app_key = form.get("client_id", "")
    shops = shops_of(marketplace.shops.values(), app_key)
    secret = form.get("client_secret", "").encode()
    if not shops or not hmac.compare_digest(secret, shops[0].app_secret.encode()):
        raise TokenError("invalid_client", "client_id or client_secret is wrong")
    grant_type, authority = form.get("grant_type"), marketplace.authority
    with marketplace.looking() as now_ms:
        if grant_type == "authorization_code":
            return authority.exchange(app_key, form.get("code", ""), now_ms, form.get("redirect_uri", ""))
        if grant_type == "refresh_token":
            return authority.refresh(app_key, form.get("refresh_token", ""), now_ms)
    raise TokenError("unsupported_grant_type", "grant_type is authorization_code or refresh_token")


def _refused(error: TokenError, delay: float = 0.0) -> Page:
    body = msgspec.json.encode({"error": error.error, "error_description": error.description})
    return Page(400, body, delay_seconds=delay)
