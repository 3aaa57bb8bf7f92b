"""The signature of a call (contract 1.3), written from the contract and independent of any client's.

Belongs here: the three digests over sorted parameters. Not here: which calls need one (``protocol``).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

SIGN_METHODS = frozenset({"md5", "hmac", "hmac-sha256"})


def signature(parameters: Mapping[str, str], secret: str, sign_method: str, body: str = "") -> str:
    """Return the upper-case hex signature of every parameter except ``sign``, and of a raw ``body`` after them.

    ValueError for a method that does not exist.
    """
    # ASCII order of names; comparing code points is the same for them and defined for any other name.
    pairs = sorted((name, value) for name, value in parameters.items() if name != "sign")
    text = ("".join(name + value for name, value in pairs) + body).encode()
    key = secret.encode()
    if sign_method == "md5":
        return hashlib.md5(key + text + key, usedforsecurity=False).hexdigest().upper()
    if sign_method == "hmac":
        return hmac.new(key, text, hashlib.md5).hexdigest().upper()
    if sign_method == "hmac-sha256":
        return hmac.new(key, text, hashlib.sha256).hexdigest().upper()
    raise ValueError(f"no such sign_method: {sign_method!r}")


def is_signed(parameters: Mapping[str, str], secret: str, body: str = "") -> bool:
    """Whether ``sign`` is right; the gateway also takes it in lower case."""
    method = parameters.get("sign_method", "")
    if method not in SIGN_METHODS:
        return False
    expected = signature(parameters, secret, method, body)
    return hmac.compare_digest(expected.encode(), parameters.get("sign", "").upper().encode())
