"""Chance that can be repeated: numbers drawn from a seed, and waiting times drawn from quantiles.

Belongs here: deterministic randomness. Not here: what is decided with it (``life``, ``demand``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from math import exp, log
from random import Random

_MASK = (1 << 64) - 1


def mix(*parts: int) -> int:
    """Return a well-scattered 64-bit number that depends on every part (the finaliser of SplitMix64)."""
    state = 0
    for part in parts:
        state = (state ^ (part & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


def fraction(*parts: int) -> float:
    """Return a number in [0, 1) that depends on every part."""
    return (mix(*parts) >> 11) / (1 << 53)


def again(number: int, salt: int) -> int:
    """Return another 64-bit number that depends on a well-scattered one, at a third of the cost of ``mix``."""
    state = (number ^ salt) * 0xD6E8FEB86659FD93 & _MASK
    return (state ^ (state >> 32)) * 0xD6E8FEB86659FD93 & _MASK


def seeded(*parts: int) -> Random:
    """Return a generator that depends on every part."""
    return Random(mix(*parts))  # noqa: S311 - it must be repeatable, not secret


class Quantiles:
    """A waiting time known by some of its quantiles; between them its logarithm is a straight line."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        """Take (probability, value > 0) pairs that rise from probability 0 to 1."""
        self._probabilities = [probability for probability, _ in points]
        self._segments = [(p0, log(v0), (log(v1) - log(v0)) / (p1 - p0)) for (p0, v0), (p1, v1) in pairwise(points)]

    def draw(self, random: Random) -> float:
        """One value, in the unit of the points."""
        return self.at(random.random())

    def at(self, probability: float) -> float:
        """Return the value of a probability in [0, 1)."""
        start, low, slope = self._segments[bisect_right(self._probabilities, probability) - 1]
        return exp(low + (probability - start) * slope)
