"""What a sandbox must remember to be the same marketplace after a restart.

Belongs here: the state file and the sessions in which live orders arrive. Not here: the orders; they follow
from the seed and these few numbers. The file is replaced in one step, so a killed process never leaves half
of one.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

# How far ahead of now a session promises to be open. The promise is on disk before anything in it is served,
# so after a kill the restarted sandbox knows of every arrival that anybody can have seen.
LEAD_MS = 5_000
# Renewing when this little is left costs one small write every few seconds.
RENEW_BELOW_MS = 2_000


class Session(msgspec.Struct):
    """A span in which live orders arrive; milliseconds since 1970, orders per second."""

    opened_ms: int
    open_until_ms: int
    orders_per_second: float
    life_speed: float

    def arrival_ms(self, position: int, jitter: float) -> int:
        """When the ``position``-th arrival of this session comes; ``jitter`` in [0, 1) keeps the order."""
        return self.opened_ms + int((position + jitter) * 1000 / self.orders_per_second)


class Origin(msgspec.Struct, frozen=True):
    """Everything the orders follow from, besides the sessions."""

    seed: int
    demand: str
    scale: float
    days: int
    orders: int
    shop_ids: tuple[str, ...]


class Permission(msgspec.Struct, kw_only=True):
    """What a shop lets its app be told about; ``topics`` None means all. Milliseconds since 1970."""

    topics: list[str] | None
    created_ms: int
    modified_ms: int


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """What an app holds to call for a shop; milliseconds since 1970."""

    access_token: str
    refresh_token: str
    expires_ms: int
    refresh_expires_ms: int


class SandboxState(msgspec.Struct):
    """The whole memory of a sandbox; ``epoch_ms`` is the "now" its history was made for.

    ``tokens`` (by shop) are what was issued last. ``permissions`` (by shop) and ``groups`` (nicks by app and name)
    belong to the message service. What was confirmed is not remembered: after a restart the messages since the
    permission come again, as messages may.
    """

    origin: Origin
    epoch_ms: int
    sessions: list[Session]
    tokens: dict[str, Token] = msgspec.field(default_factory=dict)
    permissions: dict[str, Permission] = msgspec.field(default_factory=dict)
    groups: dict[str, dict[str, list[str]]] = msgspec.field(default_factory=dict)


class StateMismatchError(Exception):
    """The state file belongs to another sandbox; the message says what to do."""


def load_state(path: Path, origin: Origin) -> SandboxState | None:
    """Return the state kept at ``path``, None if there is none.

    StateMismatchError if the file is unreadable or of another origin.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        state = msgspec.json.decode(content, type=SandboxState)
    except msgspec.DecodeError as error:
        raise StateMismatchError(f"{path} is not a sandbox state file ({error}); delete it to begin anew") from None
    if state.origin != origin:
        raise StateMismatchError(
            f"{path} belongs to a sandbox with other settings ({state.origin}); "
            "start with those settings, or delete the file to begin anew"
        )
    return state


def save_state(path: Path, state: SandboxState) -> None:
    """Replace the file at ``path`` in one step, creating its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
    fresh.replace(path)
