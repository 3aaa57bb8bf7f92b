"""The signature that every call carries (Taobao contract §1.3).

Belongs here: turning parameters and a secret into the ``sign`` text. Not here: which parameters a call has.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal, get_args

SignMethod = Literal["md5", "hmac", "hmac-sha256"]
SIGN_METHODS: tuple[str, ...] = get_args(SignMethod)
DEFAULT_SIGN_METHOD: SignMethod = "hmac-sha256"


def without_empty(params: Mapping[str, str]) -> dict[str, str]:
    """Leave out every pair whose name or value is empty.

    Whether the gateway signs empty values is not established, and two official SDKs disagree (contract §1.3),
    so an empty parameter is neither signed nor sent.
    """
    return {name: value for name, value in params.items() if name and value}


def sign(
    params: Mapping[str, str],
    secret: str,
    sign_method: SignMethod = DEFAULT_SIGN_METHOD,
    body: str = "",
) -> str:
    """Sign the parameters of a call.

    Args:
        params: every parameter of the request except ``sign`` and byte parts; empty ones are left out.
        secret: the app secret.
        sign_method: how to digest; also a parameter of the request, which the caller puts into ``params``.
        body: the raw body of batch and body calls, signed after the sorted pairs.

    Returns:
        Upper-case hexadecimal, 32 digits, or 64 for hmac-sha256.

    Raises:
        ValueError: the sign method is none of SIGN_METHODS.

    """
    pairs = sorted(without_empty(params).items())
    text = ("".join([name + value for name, value in pairs]) + body).encode()
    key = secret.encode()
    # MD5 is the platform's choice, not ours; the default is SHA-256.
    if sign_method == "hmac-sha256":
        return hmac.digest(key, text, "sha256").hex().upper()
    if sign_method == "hmac":
        return hmac.digest(key, text, "md5").hex().upper()
    if sign_method == "md5":
        return hashlib.md5(key + text + key, usedforsecurity=False).hexdigest().upper()
    raise ValueError(f"sign_method is {sign_method!r}; it has to be one of {', '.join(SIGN_METHODS)}")
