"""Seeded chance that stays the same on every machine and Python.

Only `random.Random.random` is promised to repeat across versions, so everything here is made from it, and every
actor and day has a stream of its own: a change in one place does not reshuffle the rest.
"""

import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """One stream of chance, named by what it is for."""

    __slots__ = ("_random",)

    def __init__(self, *name: object) -> None:
        self._random = random.Random("/".join(map(str, name)))  # noqa: S311 - chance, not secrets

    def uniform(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self._random.random()

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random.random() < probability

    def whole(self, low: int, high: int) -> int:
        """Return a whole number in [low, high]."""
        return low + int(self._random.random() * (high - low + 1))

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices, all equally likely."""
        return choices[int(self._random.random() * len(choices))]

    def weighted(self, choices: Sequence[tuple[float, T]]) -> T:
        """Return one of the choices, each as likely as its weight."""
        mark = self._random.random() * sum(weight for weight, _ in choices)
        for weight, choice in choices:
            mark -= weight
            if mark < 0:
                return choice
        return choices[-1][1]

    def bell(self, middle: float, spread: float) -> float:
        """Return a number around `middle`, almost always within three spreads (the sum of twelve uniforms)."""
        return middle + spread * (sum(self._random.random() for _ in range(12)) - 6.0)

    def heavy(self, median: float, spread: float = 1.0) -> float:
        """Return a positive number whose logarithm is bell-shaped: sizes, amounts, durations."""
        return median * math.exp(self.bell(0.0, spread))

    def gap(self, mean: float) -> float:
        """Return the wait until the next of events that come independently, `mean` apart."""
        return -mean * math.log(1.0 - self._random.random())

    def token(self, digits: int = 8) -> str:
        """Return that many hex digits."""
        return f"{int(self._random.random() * 16**digits):0{digits}x}"
