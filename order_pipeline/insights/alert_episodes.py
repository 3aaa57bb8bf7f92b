"""The life of an alert: one a parcel and episode, open until something new is known of the parcel.

Belongs here: the step from the alert that is open and today's judgement. Not here: judging (stalls.py), writing.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from order_pipeline.insights.stalls import Finding, Judgement, Quiet, Rule


class OpenAlert(NamedTuple):
    """An alert that is open: its rule, what else held, and since when its waiting counts."""

    rule: Rule
    also: tuple[Rule, ...]
    since: datetime


class Step(NamedTuple):
    """What to do: close what is open (why), change its rules, or open an alert; nothing of it is nothing to do."""

    close: str | None = None
    change: Finding | None = None
    open: Finding | None = None


NOTHING_TO_DO = Step()


def next_step(held: OpenAlert | None, judgement: Judgement) -> Step:
    """Return what today's judgement makes of a parcel's alert.

    The same beginning is the same episode, whatever rule it is called by; another beginning is another. What is not
    known ends nothing and begins nothing.
    """
    if judgement is Quiet.UNKNOWN:
        return NOTHING_TO_DO
    if isinstance(judgement, Quiet):
        return Step(close=judgement.value) if held else NOTHING_TO_DO
    if held is None:
        return Step(open=judgement)
    if held.since != judgement.since:
        return Step(close=Quiet.MOVING.value, open=judgement)
    if (held.rule, held.also) != (judgement.rule, judgement.also):
        return Step(change=judgement)
    return NOTHING_TO_DO
