"""Plain statistics of shares and of pairs, each from its source. Nothing here knows what is counted."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

Z95 = 1.959963984540054
"""The normal distribution's 97.5 % point."""


class Interval(NamedTuple):
    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that of `k` samples drawn from `n`, of which `c` are right, one is right: 1 - C(n-c, k) / C(n, k).

    The unbiased estimator, as a product so that no binomial grows large (Chen et al. 2021, arXiv 2107.03374, §2.1).
    Raises ValueError unless 0 <= c <= n and 1 <= k <= n."""
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"no pass@{k} from {c} right of {n}")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def wilson(successes: float, total: int) -> Interval:
    """95 % score interval of a share (Wilson 1927, JASA 22, 209-212).

    `successes` may be fractional, a sum of means over seeds. Of all values in 0..1 with a given mean, those that are
    only 0 or 1 vary most, so then the interval is wider than it need be. Raises ValueError beyond 0..total."""
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} successes of {total}")
    if total == 0:
        return Interval(0.0, 1.0)
    share = successes / total
    shrink = 1 + Z95**2 / total
    middle = (share + Z95**2 / (2 * total)) / shrink
    half = Z95 * math.sqrt(share * (1 - share) / total + (Z95 / (2 * total)) ** 2) / shrink
    return Interval(max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def mcnemar(b: int, c: int) -> float:
    """Two-sided p that `b` and `c` discordant pairs come from a fair coin, exact
    (McNemar 1947, Psychometrika 12, 153-157; the binomial in place of his chi-square).

    It takes pairs for independent: with several seeds a problem it says too much."""
    if b < 0 or c < 0:
        raise ValueError(f"{b} and {c} pairs")
    n = b + c
    term = tail = 1  # C(n, 0), and the sum of C(n, i) so far
    for i in range(min(b, c)):
        term = term * (n - i) // (i + 1)
        tail += term
    return min(1.0, 2 * tail / (1 << n))


def sign_test(differences: Iterable[float]) -> float:
    """Two-sided p that the differences, one a problem, are above 0 as often as below; ties are dropped
    (Dixon and Mood 1946, JASA 41, 557-566)."""
    signs = [difference > 0 for difference in differences if difference]
    return mcnemar(sum(signs), len(signs) - sum(signs))


def bootstrap(values: Sequence[float], seed: int = 0, repeats: int = 2000) -> Interval:
    """95 % percentile interval of the mean, problems drawn with replacement (Efron 1979, Ann. Statist. 7, 1-26).

    The same seed gives the same interval. Values that are all alike give a point, which is no certainty. Raises
    ValueError without values."""
    if not values or repeats < 1:
        raise ValueError("nothing to draw from")
    draw = random.Random(seed)  # noqa: S311 - reproducible, and no secret
    means = sorted(fmean(draw.choices(values, k=len(values))) for _ in range(repeats))
    return Interval(means[int(0.025 * (repeats - 1))], means[math.ceil(0.975 * (repeats - 1))])
