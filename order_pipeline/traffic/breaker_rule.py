"""When the breaker opens and closes: pure functions from what was counted to the next state.

Belongs here: the thresholds and the decision. Not here: where counts and state are kept (breaker.py).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

NOTHING_YET = "no calls have failed yet"


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How easily the breaker opens and closes.

    Attributes:
        window_seconds: failures are counted over the last so many seconds.
        failing_share: it opens when more than this share of the calls in the window failed,
        fewest_calls: of at least so many.
        probe_seconds: while open, one probe at most in so many seconds, over all processes.
        probes_to_close: so many probes in a row have to go through.
        pull_seconds: while open, one full pull a shop at most in so many seconds, over all processes.

    """

    # Five minutes are long enough for one in twenty to mean something, and short enough to notice an outage.
    window_seconds: float = 300.0
    failing_share: float = 0.05
    # Below twenty a single failure would be more than the share.
    fewest_calls: int = 20
    probe_seconds: float = 30.0
    # With half of the calls failing one good probe is a coin's toss; three are one chance in eight.
    probes_to_close: int = 3
    pull_seconds: float = 3_600.0

    def __post_init__(self) -> None:
        if min(self.window_seconds, self.probe_seconds, self.pull_seconds) <= 0 or not 0 <= self.failing_share < 1:
            raise ValueError("breaker times are seconds above zero, failing_share is at least 0 and below 1")
        if self.fewest_calls < 1 or self.probes_to_close < 1:
            raise ValueError("fewest_calls and probes_to_close are at least 1")


DEFAULT_BREAKER = BreakerSettings()


class Counts(NamedTuple):
    """Calls that were answered or failed within the window, and how many of them failed."""

    calls: int
    failures: int


class State(NamedTuple):
    """Where a breaker stands: open or closed, why, and the probes in a row that went through while open."""

    is_open: bool
    reason: str
    good_probes: int = 0


CLOSED = State(is_open=False, reason=NOTHING_YET)


def after_counting(state: State, counts: Counts, settings: BreakerSettings = DEFAULT_BREAKER) -> State:
    """Return the state once these counts are known: only a closed breaker heeds them."""
    too_many = counts.calls >= settings.fewest_calls and counts.failures > settings.failing_share * counts.calls
    if state.is_open or not too_many:
        return state
    minutes = settings.window_seconds / 60
    return State(
        is_open=True, reason=f"{counts.failures} of {counts.calls} calls failed in the last {minutes:g} minutes"
    )


def after_probe(state: State, *, went_through: bool, settings: BreakerSettings = DEFAULT_BREAKER) -> State:
    """Return the state once a probe has ended: only an open breaker heeds it."""
    if not state.is_open:
        return state
    if not went_through:
        return state._replace(good_probes=0)
    if state.good_probes + 1 < settings.probes_to_close:
        return state._replace(good_probes=state.good_probes + 1)
    return State(is_open=False, reason=f"{settings.probes_to_close} probes in a row went through")
