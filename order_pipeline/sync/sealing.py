"""Tokens at rest: sealed with the key of the environment, so that a copy of the database opens no shop.

Belongs here: sealing, opening, and the one-line complaint about the key. Not here: where it is stored
(warehouse/tokens.py).

Fernet (AES-128-CBC with HMAC-SHA256, a random IV, version and time in the text) of the cryptography library: nothing
of it is ours. Several keys may be given, the newest first: all of them open, the first seals, so that a key can be
changed without authorising anew.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec

from order_pipeline.configuration import TOKEN_KEY, ConfigurationError, token_keys

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

MAKE_ONE = "make one with: order-pipeline authorize --generate-key, and put it into .env"


class Secrets(msgspec.Struct, frozen=True):
    """What is sealed. The representation hides it."""

    access_token: str
    refresh_token: str | None

    def __repr__(self) -> str:
        return "Secrets(***)"


def generate_key() -> str:
    """Return a new key."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def require_key() -> None:
    """Raise ConfigurationError unless there is a key to seal with."""
    _fernet("no token can be stored")


def seal(secrets: Secrets) -> str:
    """Return the ciphertext. Raises ConfigurationError without a key, or with one that is none."""
    return _fernet("no token can be stored").encrypt(msgspec.json.encode(secrets)).decode()


def unseal(sealed: str, shop_id: str) -> Secrets:
    """Open a ciphertext. Raises ConfigurationError without the key that it was sealed with."""
    from cryptography.fernet import InvalidToken

    fernet = _fernet(f"the token of shop {shop_id} is stored encrypted")
    try:
        return msgspec.json.decode(fernet.decrypt(sealed.encode()), type=Secrets)
    except InvalidToken:
        raise ConfigurationError(
            f"environment: {TOKEN_KEY} does not open the stored token of shop {shop_id}; set the key that it was "
            f"stored with (several may be given, separated by commas, the newest first), or authorise the shop anew: "
            f"order-pipeline authorize {shop_id}"
        ) from None


def fingerprint(session_key: str, app_secret: str) -> str:
    """Return what tells one session from another without giving either away."""
    return hmac.digest(app_secret.encode(), session_key.encode(), "sha256").hex()[:32]


def _fernet(why: str) -> MultiFernet:
    # Not at the top: 0.1 s that runs without a stored token need not pay.
    from cryptography.fernet import Fernet, MultiFernet

    keys = token_keys()
    if not keys:
        raise ConfigurationError(f"environment: {TOKEN_KEY} is not set, and {why}; set it, or {MAKE_ONE}")
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise ConfigurationError(
            f"environment: {TOKEN_KEY} is no key (32 bytes in url-safe base64); {MAKE_ONE}"
        ) from None
