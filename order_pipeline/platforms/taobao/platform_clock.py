"""What is known of the platform's time, which it tells in whole seconds only. Pure: every moment is passed in.

Belongs here: narrowing down how far the platform's clock is ahead of this machine's. Not here: asking (calls.py).

An answer that tells 12:00:07 was made between 12:00:07 and 12:00:08, and between the moments when it was asked for and
when it was here. That bounds the difference of the clocks on both sides. The lower bound is the one to live by: by it
the platform's time is never believed to be later than it is, so that no answer is believed to be newer than it is.
"""

from __future__ import annotations

from datetime import datetime, timedelta

TOLD_SECOND = timedelta(seconds=1)
# Better than the way of a call it cannot be known, and four well-timed questions come as far as this.
SHARP_ENOUGH = timedelta(seconds=0.08)
# Where the way is long it never becomes as sharp.
MOST_QUESTIONS = 5
# Clocks are slewed by up to 500 parts in a million against each other while NTP sets one right.
DRIFT = 0.0005


class PlatformClock:
    """How far the platform's clock is ahead of this machine's: between ``ahead`` and ``ahead_at_most``."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.ahead_at_most = timedelta()
        self.is_known = False
        self._noted_at = 0.0
        self._questions = 0

    def note(self, told: datetime, asked_at: datetime, answered_at: datetime, monotonic: float) -> None:
        """Take in what the platform told.

        Args:
            told: its time, in whole seconds.
            asked_at: this machine's time before the question was sent.
            answered_at: this machine's time when the answer was here.
            monotonic: seconds on a clock that is never set, for what the clocks drift apart between answers.

        """
        at_least, at_most = told - answered_at, told + TOLD_SECOND - asked_at
        if self.is_known:
            drifted = timedelta(seconds=DRIFT * (monotonic - self._noted_at))
            earlier_least, earlier_most = self.ahead - drifted, self.ahead_at_most + drifted
            # Where they contradict each other, a clock was set meanwhile: the new answer counts alone.
            if earlier_least < at_most and earlier_most > at_least:
                at_least, at_most = max(at_least, earlier_least), min(at_most, earlier_most)
        self.ahead, self.ahead_at_most = at_least, at_most
        self._noted_at = monotonic
        self.is_known = True

    def best_moment(self, now: datetime) -> float | None:
        """Return in how many seconds a question halves what is not known; None: it is known well enough.

        That is when one of the platform's seconds may or may not have begun.
        """
        unknown = self.ahead_at_most - self.ahead
        if not self.is_known or unknown <= SHARP_ENOUGH or self._questions >= MOST_QUESTIONS:
            return None
        return 1.0 - (now + self.ahead + unknown / 2).microsecond / 1e6

    def count_question(self) -> None:
        """Note that a question is asked to know it better; there are so many and no more."""
        self._questions += 1
