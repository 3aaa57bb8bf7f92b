"""Tokens through the gateway: taobao.top.auth.token.create and refresh (contract 2).

Belongs here: the two methods. Not here: what a token is (``authorization`` of the room).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from order_pipeline.sandbox.authorization import TokenError
from order_pipeline.sandbox.errors import PlatformError
from order_pipeline.sandbox.methods.contract import Context, Method, required


def token_create(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Exchange a code; whither the browser was sent with it is not asked here."""
    code = required(parameters, "code")
    try:
        return _result(context.marketplace.authority.exchange(context.app_key, code, context.now_ms))
    except TokenError as error:
        raise _as_platform_error(error, "code") from None


def token_refresh(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Exchange a refresh token."""
    refresh_token = required(parameters, "refresh_token")
    try:
        return _result(context.marketplace.authority.refresh(context.app_key, refresh_token, context.now_ms))
    except TokenError as error:
        raise _as_platform_error(error, "refresh_token") from None


def _result(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"token_result": msgspec.json.encode(fields).decode()}


def _as_platform_error(error: TokenError, parameter: str) -> PlatformError:
    # How the gateway words these refusals is not established.
    return PlatformError(15, "Remote service error", f"isv.invalid-parameter:{parameter}", error.description)


METHODS = (
    Method("taobao.top.auth.token.create", token_create, needs_session=False),
    Method("taobao.top.auth.token.refresh", token_refresh, needs_session=False),
)
