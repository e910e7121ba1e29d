"""Intervals and tests for scores: paired by problem, since all arms answer the same ones.

Accuracies and differences are shares in [0, 1] (or [-1, 1]), not points. A problem is the unit that is sampled: its
rows over seeds and samples go together, so that more runs of the same problems never pass for more problems. What an
interval says is therefore "on other problems like these, with these trained models"; the spread over seeds is reported
beside it. Nothing here touches global random state. Arguments outside their range raise ValueError.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]

RESAMPLES = 10_000
# With fewer changed problems no exact paired test comes below 0.05 (five alike: 2/2⁵ = 0.0625), and a bootstrap may.
FEW_CHANGES = 6
# Random numbers drawn at once: keeps the bootstrap of a 14,000-problem benchmark near 16 MB.
_CHUNK = 2_000_000


class Estimate(NamedTuple):
    """A value with the two ends of its interval."""

    value: float
    low: float
    high: float


class Recovery(NamedTuple):
    """A recovery fraction; what is None is undefined for the `reason` given."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None


def wilson(successes: float, n: float, level: float = 0.95) -> Estimate:
    """Wilson score interval of a proportion; unlike the Wald interval it keeps its width at 0 and at n successes.

    (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n). Wilson 1927, JASA 22:209. Both may be fractional, for means of
    several runs (`mean_share`).
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"wilson needs n >= 1 and 0 <= successes <= n, got {successes} of {n}")
    p, z2 = successes / n, _z(level) ** 2
    half = math.sqrt(z2) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    centre, scale = p + z2 / (2 * n), 1 + z2 / n
    # Rounding would leave the ends a hair off 0 and 1, where they are compared with a floor of exactly 0.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return Estimate(p, low, high)


def accuracy(correct: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of `correct`, shape (problems,) or (problems, runs), with its interval: `mean_share` of each problem's mean
    over its runs, which for one run is Wilson's."""
    scores = _per_problem(correct)
    return mean_share(scores.mean(axis=1), scores.shape[1], level)


def mean_share(shares: ArrayLike, runs: float, level: float = 0.95) -> Estimate:
    """Mean of one share in [0, 1] for each problem, shape (problems,), such as a pass@k, with its interval.

    Wilson's at the effective number of problems p(1−p)/(s²/n), s² the variance of the shares: at least the n problems
    (all runs of a problem alike), at most n·`runs`, where a share is a mean of so many (all runs independent). A
    bootstrap over problems agrees where shares are many and middling, and is too narrow near 0 and 1. Korn & Graubard
    1998, Survey Methodology 24:193; Franco et al. 2019, J. Surv. Stat. Methodol. 7:334.
    """
    means = _per_problem(shares).mean(axis=1)
    if runs < 1 or means.min() < 0 or means.max() > 1:
        raise ValueError(f"mean_share needs shares in [0, 1] and at least one run, got {means} of {runs}")
    n, p = len(means), float(means.mean())
    spread = float(means.var(ddof=1)) if n > 1 else 0.0
    effective = min(max(n, p * (1 - p) * n / spread), n * runs) if spread > 0 else n
    return wilson(effective * p, effective, level)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of independent estimates, such as accuracies on several benchmarks, each counted alike.

    Its ends lie √Σ(value − end)²/k from it (MOVER: Zou, Huang & Zhang 2009, Comput. Stat. Data Anal. 53:1080).
    """
    if not estimates:
        raise ValueError("mean_of needs an estimate")
    value = sum(one.value for one in estimates) / len(estimates)
    below, above = (math.hypot(*(one.value - one[end] for one in estimates)) / len(estimates) for end in (1, 2))
    return Estimate(value, value - below, value + above)


def ratio_of_sums(
    numerators: ArrayLike, denominators: ArrayLike, rng: Generator, level: float = 0.95, resamples: int = RESAMPLES
) -> Estimate:
    """Σ numerators / Σ denominators, such as nats over tokens, with its percentile-bootstrap interval.

    Shapes (units,), row i of both being unit i, which is drawn whole (Efron & Tibshirani 1993, ch. 10); denominators
    are positive.
    """
    both = np.column_stack([np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)])
    if len(both) == 0 or np.isnan(both).any() or (both[:, 1] <= 0).any():
        raise ValueError("ratio_of_sums needs units without gaps, and a positive denominator for each")
    above, below = both.sum(axis=0)
    drawn = _resampled_means(both, rng, resamples)
    return _percentile(float(above / below), drawn[:, 0] / drawn[:, 1], level)


def paired_difference(
    treated: ArrayLike, control: ArrayLike, rng: Generator, level: float = 0.95, resamples: int = RESAMPLES
) -> Estimate:
    """Mean of treated − control over the same problems, with its percentile-bootstrap interval over problems.

    Shapes are (problems,) or (problems, runs), row i of both being problem i; the numbers of runs may differ. A problem
    is drawn with all its runs (cluster bootstrap: Davison & Hinkley 1997, §3.8). Where fewer than `FEW_CHANGES` of them
    changed, or every one alike, of which a bootstrap is too sure, the interval is that of `small_sample_difference`.
    """
    changes = _changes(treated, control)
    if np.count_nonzero(changes) < FEW_CHANGES or np.ptp(changes) == 0:
        return small_sample_difference(treated, control, level)
    return _percentile(float(changes.mean()), _resampled_means(changes[:, None], rng, resamples)[:, 0], level)


def small_sample_difference(treated: ArrayLike, control: ArrayLike, level: float = 0.95) -> Estimate:
    """As `paired_difference`, with the adjusted Wald interval, for the few problems of one difficulty level.

    A bootstrap of 20 problems of which none or one changed is far too narrow. Here two problems are added, one won and
    one lost: with p = (b+1)/(n+2), q = (c+1)/(n+2) the interval is p−q ± z·√((p+q−(p−q)²)/(n+2)).
    Bonett & Price 2012, J. Educ. Behav. Stat. 37:479; for several runs a problem's change is its mean over them.
    """
    changes = _changes(treated, control)
    padded = np.append(changes, [1.0, -1.0])
    half = _z(level) * float(padded.std()) / math.sqrt(len(padded))
    centre = float(padded.mean())
    return Estimate(float(changes.mean()), max(-1.0, centre - half), min(1.0, centre + half))


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact p of McNemar's test: b problems lost and c won are b heads of b+c tosses of a fair coin.

    min(1, 2·P(X ≤ min(b, c))), X ~ Binomial(b+c, ½); 1 when nothing changed. McNemar 1947, Psychometrika 12:153.
    """
    if b < 0 or c < 0:
        raise ValueError(f"mcnemar_exact needs two counts, got {b} and {c}")
    return float(stats.binomtest(b, b + c).pvalue) if b + c else 1.0


def paired_p(treated: ArrayLike, control: ArrayLike) -> float:
    """Two-sided p that two arms are right equally often on the same problems; shapes as in `paired_difference`.

    `mcnemar_exact` for one run of each, else `sign_flip` of the changes, each counted in whole answers.
    """
    after, before = _per_problem(treated), _per_problem(control)
    changes = after.sum(axis=1) * before.shape[1] - before.sum(axis=1) * after.shape[1]
    if after.shape[1] == before.shape[1] == 1:
        return mcnemar_exact(int((changes < 0).sum()), int((changes > 0).sum()))
    return sign_flip(changes)


def sign_flip(changes: ArrayLike) -> float:
    """Two-sided p of the sign-flip test: each problem's change (an integer) could have had the other sign.

    P(|Σ ±dᵢ| ≥ |Σ dᵢ|) over all 2ⁿ signs, by convolution. Fisher 1935, The Design of Experiments, §21. On changes of
    −1, 0, 1 it is McNemar's exact test, which it carries over to problems with several runs. It takes a change to be as
    likely up as down where nothing differs, as it is with as many runs of the one as of the other. With one untrained
    run against several trained ones it is conservative for losses at a low accuracy, and a little lax for gains.
    """
    given = np.asarray(changes)
    steps = np.rint(given).astype(np.int64)
    if not np.array_equal(steps, given):
        raise ValueError("sign_flip needs integer changes; multiply means over runs by the number of runs")
    sizes = np.abs(steps[steps != 0])
    reach = int(sizes.sum())
    chance = np.zeros(2 * reach + 1)
    chance[reach] = 1.0
    for size in sizes:  # the array is wide enough that nothing rolls over its ends
        chance = (np.roll(chance, size) + np.roll(chance, -size)) / 2
    sums = np.arange(-reach, reach + 1)
    return float(min(1.0, chance[np.abs(sums) >= abs(int(steps.sum()))].sum()))


def holm(p_values: ArrayLike) -> Array:
    """Holm's step-down adjusted p-values, in the order given: max over j ≤ i of min(1, (m−j+1)·p₍ⱼ₎).

    Holm 1979, Scand. J. Statist. 6:65. Shape (m,) in and out.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or np.any(~((p >= 0) & (p <= 1))):
        raise ValueError("holm needs a list of p-values in [0, 1]")
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted


def recovery_fraction(
    untrained: ArrayLike,
    degraded: ArrayLike,
    recovered: ArrayLike,
    rng: Generator,
    minimum_drop: float = 0.05,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Recovery:
    """Share of the lost accuracy that came back: (recovered − degraded) / (untrained − degraded).

    Shapes as in `paired_difference`, the three over the same problems; percentile bootstrap over problems. Undefined
    when the drop is below `minimum_drop`: a ratio to noise. The interval alone is undefined when the drop reaches zero
    in more than (1 − level)/2 of the resamples, since the ratio then has no finite bound (Fieller 1954, JRSS B 16:175);
    and when fewer than `FEW_CHANGES` problems came back or went. Resamples without a drop, fewer than that, are left
    out: where there are any, the upper end is a little low.
    """
    means = [_per_problem(scores).mean(axis=1) for scores in (untrained, degraded, recovered)]
    if len({len(mean) for mean in means}) > 1:
        raise ValueError(f"the three arms have {[len(mean) for mean in means]} problems; pair them first")
    base, low, back = (float(mean.mean()) for mean in means)
    drop = base - low
    if drop < minimum_drop - 1e-9:
        reason = f"the drop is {100 * drop:.1f} points; below {100 * minimum_drop:.0f} the fraction means nothing"
        return Recovery(None, None, None, reason)
    value = (back - low) / drop
    if np.count_nonzero(means[2] - means[1]) < FEW_CHANGES:
        return Recovery(value, None, None, f"fewer than {FEW_CHANGES} problems changed, which tells little")
    drawn = _resampled_means(np.column_stack([means[2] - means[1], means[0] - means[1]]), rng, resamples)
    gains, drops = drawn[:, 0], drawn[:, 1]
    if np.mean(drops <= 1e-12) > (1 - level) / 2:
        return Recovery(value, None, None, "the drop cannot be told from zero, so the fraction has no finite interval")
    kept = drops > 1e-12
    estimate = _percentile(value, gains[kept] / drops[kept], level)
    return Recovery(*estimate, None)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased chance that at least one of k samples is correct, from n samples of which c are: 1 − C(n−c, k)/C(n, k).

    Chen et al. 2021, arXiv 2107.03374, eq. 1 (in exact integers, where they use a product for stability).
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass_at_k needs 0 <= c <= n and 1 <= k <= n, got n={n}, c={c}, k={k}")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def detectable_drop(
    n: int, discordant: float, largest: float | None = None, power: float = 0.8, level: float = 0.95
) -> float | None:
    """The smallest drop that McNemar's test finds with this power on n problems, a share `discordant` of which changed.

    With several runs of a problem `discordant` is the mean squared change, and `largest` the mean absolute one.
    Solves δ·√n = z_α·√ψ + z_β·√(ψ − δ²) for δ, with ψ = discordant: the sample-size formula of Connor 1987,
    Biometrics 43:207, for the asymptotic test of one comparison. The exact test, and Holm over several, find such a
    drop less often: at n = 100 and ψ = 0.22 the exact one alone finds it 76 times in 100. None when δ would be above
    `largest` (ψ, where it is not given), the drop if every change were a loss: the test would miss even that too often.
    """
    if n < 1 or not 0 <= discordant <= 1 or not 0.5 <= power < 1:
        raise ValueError(f"detectable_drop needs n >= 1 and shares, got n={n}, discordant={discordant}, power={power}")
    za, zb = _z(level), float(stats.norm.ppf(power))
    under_root = n - za**2 + zb**2
    if discordant == 0 or under_root < 0:
        return None
    drop = math.sqrt(discordant) * (math.sqrt(n) * za + zb * math.sqrt(under_root)) / (n + zb**2)
    return drop if drop <= (discordant if largest is None else largest) else None


def _z(level: float) -> float:
    """Two-sided standard normal quantile: 1.96 for 0.95."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return float(stats.norm.ppf((1 + level) / 2))


def _per_problem(scores: ArrayLike) -> Array:
    """The scores as (problems, runs)."""
    array = np.asarray(scores, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.size == 0 or np.isnan(array).any():
        raise ValueError(f"scores must be (problems,) or (problems, runs), without gaps; got shape {array.shape}")
    return array


def _changes(treated: ArrayLike, control: ArrayLike) -> Array:
    """Mean over runs of treated minus that of control, per problem."""
    after, before = _per_problem(treated), _per_problem(control)
    if len(after) != len(before):
        raise ValueError(f"treated has {len(after)} problems and control {len(before)}; pair them first")
    return after.mean(axis=1) - before.mean(axis=1)


def _resampled_means(columns: Array, rng: Generator, resamples: int) -> Array:
    """Column means of `columns` (problems, c) with problems drawn with replacement: (resamples, c)."""
    n = len(columns)
    step = max(1, _CHUNK // n)
    parts = [
        columns[rng.integers(n, size=(min(step, resamples - start), n))].mean(axis=1)
        for start in range(0, resamples, step)
    ]
    return np.concatenate(parts)


def _percentile(value: float, drawn: Array, level: float) -> Estimate:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))
