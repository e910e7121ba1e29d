"""Students trained on solutions of maths problems (script 16): avg@k through the training, over a grid, and at its end;
and one arm against another, for offline RL (script 17) too.

avg@k is the mean accuracy of k sampled answers to each problem, as the DFT paper reports it (arXiv 2508.05629).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from offmodel import statistics
from offmodel.errors import RunError
from offmodel.published import published_accuracy
from offmodel.results import BOOTSTRAP_SEED, UNTRAINED, by_item, grouped, is_floor, matching, named

READING = "training_set"
BIN_EDGES = (0.0, 1e-4, 1e-3, 0.01, *(round(0.1 * k, 1) for k in range(1, 11)))
"""Of the probability of a token: those of the DFT paper's figure."""

AVERAGE = "average"
_KEPT = [
    "task", "task_title", "accuracy", "low", "high", "n", "seeds",
    "difference", "difference_low", "difference_high",
]  # fmt: skip
_MEAN = ["accuracy", "low", "high"]
_GRID = ["learning_rate", "batch_size"]
_SETTING = ["step", *_GRID]


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

    Columns: student, arm, step, task, task_title, samples (k), and accuracy, low, high, n, seeds and difference,
    difference_low, difference_high from untrained as in the score table, `results.score_table` of the items; published
    (`published.published_accuracy`; null where the paper's setting is another one). The 95 % intervals of a
    mean over tasks: `statistics.mean_of` theirs.
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
            rows.append(about | {name: row[name] for name in _KEPT} | {"published": published})
        if len(own) > 1:
            control = matching(answered, dict(zip(keys, [*values[:2], UNTRAINED], strict=True)))
            rows.append(about | _average(made, None if values[2] == UNTRAINED else control))
    table = pd.DataFrame(rows, columns=["student", "arm", "step", "samples", *_KEPT, "published"])
    return table.astype({"published": float})


def by_greedy(items: pd.DataFrame, greedy: pd.DataFrame) -> pd.DataFrame:
    """Sampled answers apart by whether the untrained student solves a problem greedily: what a training adds, and what
    it sharpens. A student that draws its tokens is less often right than one that takes the likeliest.

    A row for each student, task, arm and `solved`: n (problems), accuracy, low, high (`statistics.accuracy`).

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
        rows.append(dict(zip(parts, values, strict=True)) | {"n": len(scores)} | found)
    return pd.DataFrame(rows, columns=[*parts, "n", *_MEAN])


def head_to_head(items: pd.DataFrame, arm: str, against: str) -> pd.DataFrame:
    """By how much one arm is better than another: a row for each student, task and setting that both were scored in,
    and one for the mean over the settings of the grid, where there are several.

    Columns: student, task, task_title, step, learning_rate, batch_size (the setting; null in the mean's row, and where
    nothing was varied), settings (how many of them the row is of), n, and difference, difference_low, difference_high
    of accuracy, paired by problem (`statistics.paired_difference`).
    """
    rows: list[dict[str, Any]] = []
    items = items.assign(**{name: np.nan for name in _SETTING if name not in items})
    for (student, task, title), own in grouped(items, ["student", "task", "task_title"]):
        pairs = []
        for setting, made in grouped(own[own["arm"] == arm], _SETTING):
            where = dict(zip(_SETTING, setting, strict=True))
            other = matching(own[own["arm"] == against], where)
            if len(other):
                pairs.append((where | {"settings": 1}, by_item(made), by_item(other)))
        tried = [(first, second) for where, first, second in pairs if pd.notna(where["learning_rate"])]
        if len(tried) > 1:
            first, second = (pd.concat(tables, axis=1) for tables in zip(*tried, strict=True))
            pairs.append((dict.fromkeys(_SETTING, np.nan) | {"settings": len(tried)}, first, second))
        for where, first, second in pairs:
            found = statistics.paired_difference(first, second, np.random.default_rng(BOOTSTRAP_SEED))
            about = {"student": student, "task": task, "task_title": title, **where, "n": len(first)}
            rows.append(about | named("difference", found))
    columns = ["student", "task", "task_title", *_SETTING, "settings", "n"]
    columns += ["difference", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=columns)


def _average(made: pd.DataFrame, control: pd.DataFrame | None) -> dict[str, Any]:
    """The row of the mean over tasks."""
    by_task = {task: by_item(group) for task, group in grouped(made, ["task"])}
    row: dict[str, Any] = {"task": AVERAGE, "task_title": AVERAGE, "seeds": int(made["seed"].nunique())}
    row["n"] = sum(len(scores) for scores in by_task.values())
    mean = statistics.mean_of([statistics.accuracy(scores) for scores in by_task.values()])
    row |= dict(zip(_MEAN, mean, strict=True))
    if control is not None:
        before = {task: by_item(group) for task, group in grouped(control, ["task"])}
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        changes = [statistics.paired_difference(scores, before[task], rng) for task, scores in by_task.items()]
        row |= named("difference", statistics.mean_of(changes))
    return row
