"""What each objective keeps and what it learns (script 18): change of capability against uptake of the teacher.

An objective can spare a capability because it refuses to learn, so neither of the two is told without the other. All
is computed from the tables of one experiment: items and scores (`offmodel.results`), likelihoods
(`offmodel.collect.read_answers`) and style (`offmodel.style`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from offmodel import statistics
from offmodel.errors import RunError
from offmodel.results import BOOTSTRAP_SEED, UNTRAINED, is_floor

READING = "teacher_unseen"
NLL, STYLE = "nll", "style"
PARAMETERS = ["learning_rate", "on_model_share"]
_ARM = ["arm", *PARAMETERS]
_SCORES = ["accuracy", "low", "high", "n", "seeds", "floor", "p_holm"]  # as in the score table
_CHANGE = {"change": "difference", "change_low": "difference_low", "change_high": "difference_high"}
COLUMNS = [
    "experiment", "student", "after", "task", "task_title", "measure", *_ARM, *_SCORES, *_CHANGE,
    "uptake", "uptake_low", "uptake_high", "uptake_n",
    "on_front", "front_share",
]  # fmt: skip
_CHUNK = 200  # resamples at once: each has a count for every problem, and arms × arms comparisons


class _Pair(NamedTuple):
    experiment: str
    student: str
    after: str


@dataclass(frozen=True)
class _Uptake:
    """Uptake as a ratio of sums over `units` (prompts or problems): Σ gain / Σ weight. Frames of (units, arms)."""

    gain: pd.DataFrame
    weight: pd.DataFrame


def objective_table(
    items: pd.DataFrame,
    scores: pd.DataFrame,
    likelihoods: pd.DataFrame | None = None,
    style: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """A row for each student, teacher (`after`), task, measure of uptake and arm; the seeds of an arm are pooled.

    Arms are the untrained student, those taught by this teacher, and those taught by the student itself. `scores` is
    `results.score_table` of the items. `COLUMNS`:
        change: of accuracy from untrained, paired by problem: the `difference` of the scores, 0 for untrained itself.
        measure, uptake: "nll", by how much the NLL of the teacher's answers to held-out prompts has fallen, in nats per
            token: Σ over answers of (log-probability − that of the untrained student) / Σ of their tokens, the same for
            every task. "style", the style shift towards the teacher on the task, in [−1, 1], as that of
            `style.style_effects`. No rows of a measure that was not taken, null where an arm has none.
        uptake_low, uptake_high: 95 %, percentile bootstrap over the `uptake_n` prompts or problems (for a ratio of
            sums: Davison & Hinkley 1997, §2.4); null where there is one, and for untrained.
        on_front: whether no other arm of the same task and measure has as much uptake and as little loss, and more of
            the one or less of the other (Pareto); front_share: in which share of resamples of problems and prompts, the
            same for all arms, that holds. The untrained student, at 0 and 0, is one of the arms.

    Raises:
        RunError: the arms were read on different answers.
    """
    items, scores = (_labelled(table[~table["arm"].map(is_floor)]) for table in (items, scores))
    rows: list[dict[str, Any]] = []
    for pair in _pairs(scores):
        own, known = (_of_pair(table, pair) for table in (items, scores))
        if not (known["arm"] == UNTRAINED).any():
            continue
        read = _read(likelihoods, pair)
        for task, scored in known.groupby("task", sort=False):
            correct = own[own["task"] == task].astype({"correct": float})
            means = correct.pivot_table(index="item", columns="_id", values="correct", aggfunc="mean")
            changes = means.sub(means[scored.loc[scored["arm"] == UNTRAINED, "_id"].iloc[0]], axis=0)
            for measure, uptake in [(NLL, read), (STYLE, _styled(style, pair, str(task)))]:
                if uptake is not None:
                    keys = pair._asdict() | {"task": task, "measure": measure}
                    rows += [keys | row for row in _rows(scored, changes, uptake, measure)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({name: float for name in [*PARAMETERS, "uptake", "uptake_low", "uptake_high", "front_share"]})


def pareto_front(uptake: ArrayLike, change: ArrayLike) -> NDArray[np.bool_]:
    """Which arms no other dominates, that is, is at least as good in both and better in one; more of both is better.

    Shapes (..., arms) in and out.
    """
    more, kept = np.asarray(uptake, dtype=np.float64), np.asarray(change, dtype=np.float64)
    # [..., i, j]: arm j against arm i
    as_good = (more[..., None, :] >= more[..., :, None]) & (kept[..., None, :] >= kept[..., :, None])
    better = (more[..., None, :] > more[..., :, None]) | (kept[..., None, :] > kept[..., :, None])
    return np.asarray(~(as_good & better).any(axis=-1))


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """With all columns of an arm's parameters, and its name and these in one text, in which a null equals a null."""
    table = table.assign(**{name: np.nan for name in PARAMETERS if name not in table})
    values = table[_ARM].astype({name: float for name in PARAMETERS})
    return table.assign(_id=[f"{arm} {rate} {share}" for arm, rate, share in values.itertuples(index=False)])


def _pairs(scores: pd.DataFrame) -> Iterator[_Pair]:
    taught = scores[scores["teacher"].notna() & (scores["teacher"] != scores["student"])]
    for values in taught[["experiment", "student", "teacher"]].drop_duplicates().itertuples(index=False, name=None):
        yield _Pair(*values)


def _of_pair(table: pd.DataFrame, pair: _Pair) -> pd.DataFrame:
    same = (table["experiment"] == pair.experiment) & (table["student"] == pair.student)
    return table[same & ((table["arm"] == UNTRAINED) | table["teacher"].isin([pair.student, pair.after]))]


def _read(likelihoods: pd.DataFrame | None, pair: _Pair) -> _Uptake | None:
    """Nats gained and tokens, by prompt; None where the untrained student did not read this teacher's answers."""
    if likelihoods is None or not (likelihoods["reading"] == READING).any():
        return None
    rows = likelihoods[(likelihoods["reading"] == READING) & (likelihoods["experiment"] == pair.experiment)]
    rows = _labelled(rows[(rows["reader"] == pair.student) & (rows["after"] == pair.after)])
    if not (rows["arm"] == UNTRAINED).any():
        return None
    # Each seed has its own answers of the teacher, so seeds meet only in the sums over a prompt.
    nats, tokens = (rows.pivot(index=["seed", "key"], columns="_id", values=name) for name in ("logprob", "tokens"))
    if nats.isna().any(axis=None):
        arm = rows.loc[rows["_id"] == nats.columns[nats.isna().any()][0], "arm"].iloc[0]
        raise RunError(f"arm {arm} of {pair.student} was not read on the same answers as the others; run it again")
    gain = nats.sub(nats[rows.loc[rows["arm"] == UNTRAINED, "_id"].iloc[0]], axis=0)
    return _Uptake(gain.groupby(level="key").sum(), tokens.groupby(level="key").sum())


def _styled(style: pd.DataFrame | None, pair: _Pair, task: str) -> _Uptake | None:
    """Change of the probability that the teacher wrote it, by problem; problems without words have no weight."""
    if style is None or style.empty:
        return None
    rows = style[(style["task"] == task) & (style["compared_with"] == pair.after)]
    rows = _of_pair(_labelled(rows), pair).astype({"teacher_probability": float})
    if not (rows["arm"] == UNTRAINED).any():
        return None
    means = rows.groupby(["item", "_id"])["teacher_probability"].mean().unstack("_id")
    change = means.sub(means[rows.loc[rows["arm"] == UNTRAINED, "_id"].iloc[0]], axis=0)
    return _Uptake(change.fillna(0.0), change.notna().astype(float))


def _rows(scored: pd.DataFrame, changes: pd.DataFrame, uptake: _Uptake, measure: str) -> Iterator[dict[str, Any]]:
    """One row for each arm of a task."""
    known = [arm for arm in scored["_id"] if arm in uptake.gain and uptake.weight[arm].sum() > 0]
    drawn_change, drawn_uptake = _resampled(changes[known], uptake, known, measure)
    means = {arm: float(uptake.gain[arm].sum() / uptake.weight[arm].sum()) for arm in known}
    front = pareto_front(list(means.values()), changes[known].mean())
    shares = _front_shares(drawn_uptake, drawn_change)
    for _, score in scored.iterrows():
        row: dict[str, Any] = {name: score[name] for name in ["task_title", *_ARM, *_SCORES]}
        row |= {new: score[old] for new, old in _CHANGE.items()}
        row |= {"change": 0.0} if score["arm"] == UNTRAINED else {}
        if score["_id"] in known:
            place = known.index(score["_id"])
            row |= {"uptake": means[score["_id"]], "uptake_n": int((uptake.weight[score["_id"]] > 0).sum())}
            row |= {"on_front": bool(front[place]), "front_share": float(shares[place])}
            if score["arm"] != UNTRAINED and row["uptake_n"] > 1:
                row["uptake_low"], row["uptake_high"] = np.nanquantile(drawn_uptake[:, place], [0.025, 0.975])
        yield row


def _resampled(
    changes: pd.DataFrame, uptake: _Uptake, arms: list[str], measure: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean changes and uptakes of (resamples, arms); each resample draws the same problems or prompts for all arms."""
    gain, weight = uptake.gain[arms], uptake.weight[arms]
    if measure == STYLE:  # of the same problems: drawn with them, not apart
        gain, weight = gain.reindex(changes.index, fill_value=0.0), weight.reindex(changes.index, fill_value=0.0)
    gains, weights = gain.to_numpy(dtype=np.float64), weight.to_numpy(dtype=np.float64)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for start in range(0, statistics.RESAMPLES, _CHUNK):
        times = _times_drawn(len(changes), min(_CHUNK, statistics.RESAMPLES - start), rng)
        mean_changes = times @ changes.to_numpy() / len(changes)
        if measure != STYLE:
            times = _times_drawn(len(gains), len(times), rng)
        with np.errstate(invalid="ignore"):  # a resample may have drawn only answers without a token
            drawn.append((mean_changes, (times @ gains) / (times @ weights)))
    return np.concatenate([part[0] for part in drawn]), np.concatenate([part[1] for part in drawn])


def _times_drawn(n: int, resamples: int, rng: Generator) -> NDArray[np.float64]:
    """How often each of `n` is drawn in each resample: (resamples, n)."""
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def _front_shares(uptake: NDArray[np.float64], change: NDArray[np.float64]) -> NDArray[np.float64]:
    starts = range(0, len(uptake), _CHUNK)
    parts = [pareto_front(uptake[at : at + _CHUNK], change[at : at + _CHUNK]).sum(axis=0) for at in starts]
    return np.sum(parts, axis=0) / len(uptake)
