"""Students trained on solutions of maths problems (script 16): avg@k through the training, over a grid, and at its end;
and one arm against another, for offline RL (script 17) too.

avg@k is the mean accuracy of k sampled answers to each problem, as the DFT paper reports it (arXiv 2508.05629); pass@k
whether any of the k is right. A student that says the same more surely gains in the first and not in the second: it has
sharpened, not learned (Yue et al. 2025, arXiv 2504.13837).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from offmodel import statistics
from offmodel.errors import RunError
from offmodel.published import published_accuracy
from offmodel.results import BOOTSTRAP_SEED, UNTRAINED, by_item, grouped, is_floor, matching, named, passed

READING = "training_set"
BIN_EDGES = (0.0, 1e-4, 1e-3, 0.01, *(round(0.1 * k, 1) for k in range(1, 11)))
"""Of the probability of a token: those of the DFT paper's figure."""

AVERAGE = "average"
_DIFFERENCE = ["difference", "difference_low", "difference_high"]
_KEPT = ["task", "task_title", "accuracy", "low", "high", "n", "seeds", *_DIFFERENCE]
_MEAN = ["accuracy", "low", "high"]
_PASS = ["pass", "pass_low", "pass_high"]
_GRID = ["learning_rate", "batch_size"]
SETTING = ["step", *_GRID]
"""Columns that tell where an arm was scored: at a step of its training, or at a point of the grid."""

_Pair = tuple[pd.DataFrame, pd.DataFrame]  # two arms on the same problems, as `by_item`


def token_bins(logprobs: Sequence[float]) -> pd.DataFrame:
    """How many tokens have a probability in each of the bins: low, high (the edges; low ≤ p < high, the last also 1),
    tokens.

    Args:
        logprobs: of the tokens, in nats.
    """
    counts, _ = np.histogram(np.exp(np.asarray(logprobs, dtype=np.float64)).clip(0, 1), bins=np.asarray(BIN_EDGES))
    return pd.DataFrame({"low": BIN_EDGES[:-1], "high": BIN_EDGES[1:], "tokens": counts})


def progress(scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each student, task, arm and step: `results.score_table`'s columns, untrained at step 0 before the
    others; the floors and the grid are left out."""
    table = scores[~scores["arm"].map(is_floor)].copy()
    table["step"] = table["step"].where(table["arm"] != UNTRAINED, 0) if "step" in table else 0
    return table[table["step"].notna()].astype({"step": int})


def grid(items: pd.DataFrame) -> pd.DataFrame:
    """A row for each student, arm, learning rate and batch size: accuracy, low, high, its mean over the `tasks` tasks
    with the 95 % interval of `statistics.mean_of`."""
    keys = ["student", "arm", *_GRID]
    rows: list[dict[str, Any]] = []
    if set(_GRID) <= set(items.columns):
        for values, made in grouped(items[items["learning_rate"].notna()], keys):
            mean = {name: value for name, value in _average(made, None).items() if name in _MEAN}
            rows.append(dict(zip(keys, values, strict=True)) | mean | {"tasks": int(made["task"].nunique())})
    return pd.DataFrame(rows, columns=[*keys, *_MEAN, "tasks"])


def final_table(items: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each student, arm at its last step, and task, and one for the mean over its tasks (task "average").

    Columns: student, arm, step, task, task_title, samples (k), and accuracy (avg@k), low, high, n, seeds and
    difference, difference_low, difference_high from untrained as in the score table, `results.score_table` of the
    items; pass, pass_low, pass_high (pass@k); published (`published.published_accuracy`; null where the paper's setting
    is another one). The 95 % intervals of a mean over tasks: `statistics.mean_of` theirs.
    """
    table = progress(scores)
    keys = ["experiment", "student", "arm"]
    last = table[table["step"] == table.groupby(keys)["step"].transform("max")]
    answered = items.assign(step=items.get("step", np.nan))
    rows: list[dict[str, Any]] = []
    for values, own in grouped(last, keys):
        made = matching(answered, dict(zip(keys, values, strict=True)))
        made = made[made["step"] == own["step"].iloc[0]] if values[-1] != UNTRAINED else made
        samples = int(made["sample"].nunique())
        about = {"student": values[1], "arm": values[2], "step": int(own["step"].iloc[0]), "samples": samples}
        for _, row in own.iterrows():
            of_task = (row["task"], row["n"], samples, row["adapter"])
            published = published_accuracy(values[1], values[2], *of_task)
            any_right = statistics.accuracy(passed(by_item(made[made["task"] == row["task"]])))
            rows.append(
                about | {name: row[name] for name in _KEPT} | named("pass", any_right) | {"published": published}
            )
        if len(own) > 1:
            control = matching(answered, dict(zip(keys, [*values[:2], UNTRAINED], strict=True)))
            rows.append(about | _average(made, None if values[2] == UNTRAINED else control))
    table = pd.DataFrame(rows, columns=["student", "arm", "step", "samples", *_KEPT, *_PASS, "published"])
    return table.astype({"published": float})


def by_greedy(items: pd.DataFrame, greedy: pd.DataFrame) -> pd.DataFrame:
    """Sampled answers apart by whether the untrained student solves a problem greedily: what a training adds, and what
    it sharpens. A student that draws its tokens is less often right than one that takes the likeliest.

    A row for each student, task, arm and `solved`: n (problems), accuracy, low, high (avg@k; `statistics.accuracy`) and
    pass, pass_low, pass_high (pass@k).

    Args:
        items: the items table of several answers to each problem, one setting of each arm; floors are left out.
        greedy: items of the same students' `untrained` arms on the same problems, one answer each, of another
            experiment.

    Raises:
        RunError: the untrained student's greedy answer to a problem is missing, or there are several.
    """
    keys = ["student", "task", "item"]
    first = greedy[greedy["arm"] == UNTRAINED].set_index(keys)["correct"].astype(bool)
    own = items[~items["arm"].map(is_floor)]
    asked = pd.MultiIndex.from_frame(own[keys])
    if not first.index.is_unique or not asked.isin(first.index).all():
        raise RunError("each problem needs the one greedy answer of the untrained student to be told apart by it")
    rows: list[dict[str, Any]] = []
    parts = ["student", "task", "arm", "solved"]
    for values, made in grouped(own.assign(solved=first.reindex(asked).to_numpy()), parts):
        scores = by_item(made)
        found = dict(zip(_MEAN, statistics.accuracy(scores), strict=True))
        found |= named("pass", statistics.accuracy(passed(scores)))
        rows.append(dict(zip(parts, values, strict=True)) | {"n": len(scores)} | found)
    return pd.DataFrame(rows, columns=[*parts, "n", *_MEAN, *_PASS])


def head_to_head(items: pd.DataFrame, arm: str, against: str) -> pd.DataFrame:
    """By how much one arm is better than another: a row for each student, task and setting that both were scored in,
    and one for the mean over the settings of the grid, where there are several.

    Columns: student, task, task_title, step, learning_rate, batch_size (the setting; null in the mean's row, and where
    nothing was varied), settings (how many of them the row is of), n, and difference, difference_low, difference_high
    of accuracy, paired by problem (`statistics.paired_difference`), with its p (`statistics.paired_p`, not corrected);
    the same of pass@k as pass_difference … pass_p, null where the two gave different numbers of answers.
    """
    rows: list[dict[str, Any]] = []
    items = items.assign(**{name: np.nan for name in SETTING if name not in items})
    for (student, task, title), own in grouped(items, ["student", "task", "task_title"]):
        settings = []
        for setting, made in grouped(own[own["arm"] == arm], SETTING):
            where = dict(zip(SETTING, setting, strict=True))
            other = matching(own[own["arm"] == against], where)
            if len(other):
                settings.append((where, [(by_item(made), by_item(other))]))
        tried = [pair for where, (pair,) in settings if pd.notna(where["learning_rate"])]
        if len(tried) > 1:
            settings.append((dict.fromkeys(SETTING, np.nan), tried))
        for where, pairs in settings:
            about = {"student": student, "task": task, "task_title": title, **where}
            about |= {"settings": len(pairs), "n": len(pairs[0][0])}
            rows.append(about | _compared(pairs, "") | _compared(_both_passed(pairs), "pass_"))
    columns = ["student", "task", "task_title", *SETTING, "settings", "n"]
    columns += [prefix + name for prefix in ("", "pass_") for name in [*_DIFFERENCE, "p"]]
    return pd.DataFrame(rows, columns=columns)


def _both_passed(pairs: list[_Pair]) -> list[_Pair]:
    """pass@k of both; none where k differs."""
    same = all(first.shape[1] == second.shape[1] for first, second in pairs)
    return [(passed(first), passed(second)) for first, second in pairs] if same else []


def _compared(pairs: list[_Pair], prefix: str) -> dict[str, float]:
    """The one against the other, mean over the pairs."""
    if not pairs:
        return {}
    first, second = (pd.concat(tables, axis=1) for tables in zip(*pairs, strict=True))
    found = statistics.paired_difference(first, second, np.random.default_rng(BOOTSTRAP_SEED))
    return named(f"{prefix}difference", found) | {f"{prefix}p": statistics.paired_p(first, second)}


def _average(made: pd.DataFrame, control: pd.DataFrame | None) -> dict[str, Any]:
    """The row of the mean over tasks."""
    by_task = {task: by_item(group) for task, group in grouped(made, ["task"])}
    row: dict[str, Any] = {"task": AVERAGE, "task_title": AVERAGE, "seeds": int(made["seed"].nunique())}
    row["n"] = sum(len(scores) for scores in by_task.values())
    mean = statistics.mean_of([statistics.accuracy(scores) for scores in by_task.values()])
    row |= dict(zip(_MEAN, mean, strict=True))
    row |= named("pass", statistics.mean_of([statistics.accuracy(passed(scores)) for scores in by_task.values()]))
    if control is not None:
        before = {task: by_item(group) for task, group in grouped(control, ["task"])}
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        changes = [statistics.paired_difference(scores, before[task], rng) for task, scores in by_task.items()]
        row |= named("difference", statistics.mean_of(changes))
    return row
