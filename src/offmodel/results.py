"""From the tidy table of items to scores: no score without its interval, truncation and no-answer rates, and floor.

`items.parquet` has a row for each arm × seed × item × sample (`ITEM_COLUMNS`, `ITEM_NOTES`; any further column is a
parameter of an arm, null where the arm has none). `scores.csv` is `score_table` of it: a row for each arm × task
(`SCORE_COLUMNS`). Accuracies, rates and differences are shares; differences are arm minus `untrained` of the same
student, by item.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from offmodel import statistics
from offmodel.errors import RunError
from offmodel.statistics import Estimate

ARM_KEYS = ["experiment", "arm", "student", "teacher", "objective", "adapter"]
TASK_KEYS = ["task", "task_title", "kind", "chance"]
RUN_KEYS = ["seed", "sample"]
MEASURED = ["correct", "response_tokens", "truncated", "answered"]
ITEM_COLUMNS = [*ARM_KEYS, *RUN_KEYS, *TASK_KEYS, "item", "level", *MEASURED, "model_id", "scores_id"]
# May be there: what a benchmark says of its items beside their level; whether a prefill gave the answer away;
# how many of an answer's tokens were written out instead of computed (`engines.loops`).
ITEM_NOTES = ["subject", "prefill_answers", "filled_tokens"]
SCORE_COLUMNS = [
    *ARM_KEYS, *TASK_KEYS,
    "accuracy", "low", "high",  # 95 % interval: statistics.accuracy
    "n", "seeds", "seed_sd",  # items; training seeds; standard deviation of the accuracy over them (null for one)
    "truncated", "no_answer", "response_tokens",  # rate, rate, mean
    "difference", "difference_low", "difference_high",  # 95 % interval: statistics.paired_difference
    # Chance that a run before is right and one after wrong, and the other way: of one run each, the share of items.
    "lost", "gained",
    "p", "p_holm",  # exact McNemar (several runs: sign-flip), and adjusted over the measurements of a student and task
    "detectable",  # the smallest drop found with power 0.8: statistics.detectable_drop
    "floor", "floor_arm", "at_floor",  # the best of chance and scripted answers; not above it?
]  # fmt: skip
UNTRAINED = "untrained"
FLOOR_PREFIX = "floor_"
# Every interval starts from this seed anew, so that a number does not depend on which other arms are in the table.
BOOTSTRAP_SEED = 0


def parameters(table: pd.DataFrame) -> list[str]:
    """The columns that are an arm's own parameters: all that the contract does not name."""
    known = {*ITEM_COLUMNS, *ITEM_NOTES, *SCORE_COLUMNS}
    return [str(column) for column in table.columns if column not in known]


def is_floor(arm: str) -> bool:
    return arm.startswith(FLOOR_PREFIX)


def score_table(items: pd.DataFrame, control: str = UNTRAINED) -> pd.DataFrame:
    """One row for each arm (with student, teacher and parameters) and task, floors included: `SCORE_COLUMNS`.

    Args:
        items: as `ITEM_COLUMNS` says.
        control: the arm that the others of its student are compared with.

    Raises:
        RunError: a column is missing or has gaps, a row is there twice, or the arms of a task differ in their items.
    """
    check_items(items)
    keys = [*ARM_KEYS, *parameters(items)]
    controls = _controls(items, control)
    rows, answers, measured = [], [], []
    for _, group in grouped(items, [*keys, *TASK_KEYS]):
        row = {name: group[name].iloc[0] for name in [*keys, *TASK_KEYS]}
        scores = by_item(group)
        answers.append(scores)
        measured.append(tuple(sorted(group["scores_id"].unique())))
        # A scripted floor is no student: what it lacks to one is not a change.
        own = None if is_floor(row["arm"]) else controls.get((row["experiment"], row["student"], row["task"]))
        row |= accuracy_columns(scores) | _rates(group)
        if own is not None and row["arm"] != control:
            row |= _comparison(scores, own)
        rows.append(row)
    table = pd.DataFrame(rows, columns=[*keys, *[name for name in SCORE_COLUMNS if name not in ARM_KEYS]])
    table["chance"] = table["chance"].astype(float)  # where no task has one it would be of no type
    _add_holm(table, measured)
    _add_floors(table, answers)
    return table


def level_table(items: pd.DataFrame) -> pd.DataFrame:
    """Accuracy, and difference to `untrained`, by difficulty level: a row for each arm × task × level; no floors.

    Items without a level are left out. A level has few items, hence `statistics.small_sample_difference`.

    Raises:
        RunError: as `score_table`.
    """
    check_items(items)
    keys = [*ARM_KEYS, *parameters(items)]
    levelled = items[items["level"].notna() & ~items["arm"].map(is_floor)]
    controls = _controls(levelled, UNTRAINED)
    rows = []
    for _, group in grouped(levelled, [*keys, *TASK_KEYS, "level"]):
        row = {name: group[name].iloc[0] for name in [*keys, *TASK_KEYS, "level"]}
        scores = by_item(group)
        row |= accuracy_columns(scores)
        control = controls.get((row["experiment"], row["student"], row["task"]))
        if row["arm"] != UNTRAINED and control is not None:
            same = control.reindex(scores.index)
            row |= named("difference", statistics.small_sample_difference(scores, same))
        rows.append(row)
    numbers = ["accuracy", "low", "high", "n", "seeds", "seed_sd", "difference", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=[*keys, *TASK_KEYS, "level", *numbers])


def write_results(items: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write `items.parquet` and its `scores.csv` into `folder`, and return the score table.

    Raises:
        RunError: as `score_table`; nothing is written then.
    """
    table = score_table(items)
    folder.mkdir(parents=True, exist_ok=True)
    items.to_parquet(folder / "items.parquet", index=False)
    table.to_csv(folder / "scores.csv", index=False, float_format="%.6g", lineterminator="\n")
    return table


def answered_items(folder: Path) -> pd.DataFrame:
    """The items of a folder of results, each with what was answered (`response`).

    Raises:
        OSError, ValueError: a table is not there or cannot be read; or as `with_answers`.
    """
    return with_answers(*(pd.read_parquet(folder / f"{name}.parquet") for name in ("items", "answers")))


def with_answers(items: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """The items, each with what was answered (`response`).

    Raises:
        RunError: an item has no answer.
    """
    keys = [*ARM_KEYS, *parameters(items), *RUN_KEYS, "task", "item"]
    joined = items.merge(answers[[*keys, "response"]], on=keys, how="left", validate="one_to_one")
    if joined["response"].isna().any():
        row = joined[joined["response"].isna()].iloc[0]
        raise RunError(f"answers.parquet lacks the answer of arm {row['arm']} to {row['item']}; collect them again")
    return joined


def check_items(items: pd.DataFrame) -> None:
    """Raise RunError, in one line, for a table that does not keep the contract; see `score_table`."""
    missing = [name for name in ITEM_COLUMNS if name not in items.columns]
    if missing:
        raise RunError(f"the items table lacks the columns {', '.join(missing)}; score the arms again")
    if items.empty:
        raise RunError("the items table has no rows: no arm was scored")
    for name in ["experiment", "arm", "task", "item", *RUN_KEYS, *MEASURED]:
        if items[name].isna().any():
            arm = items.loc[items[name].isna(), "arm"].iloc[0]
            raise RunError(f"the items table has an empty '{name}' in arm {arm}; score that arm again")
    keys = [*ARM_KEYS, *parameters(items), "task", *RUN_KEYS]
    twice = items.duplicated([*keys, "item"])
    if twice.any():
        row = items[twice].iloc[0]
        raise RunError(f"arm {row['arm']} has item {row['item']} of {row['task']} twice for seed {row['seed']}")
    expected: dict[tuple[str, str], tuple[str, set[str]]] = {}
    for _, group in grouped(items, keys):
        arm, task = group["arm"].iloc[0], group["task"].iloc[0]
        found = set(group["item"])
        first_arm, wanted = expected.setdefault((group["experiment"].iloc[0], task), (arm, found))
        if found != wanted:
            item = min(found ^ wanted)
            has, lacks = (arm, first_arm) if item in found else (first_arm, arm)
            raise RunError(f"{task}: arm {has} has item {item} and arm {lacks} (seed {group['seed'].iloc[0]}) does "
                           "not; all arms of a task must answer the same items")  # fmt: skip


def grouped(table: pd.DataFrame, keys: list[str]) -> Any:
    """Groups in the order in which they first appear; a null is a value like any other."""
    return table.groupby(keys, sort=False, dropna=False)


def matching(table: pd.DataFrame, wanted: Mapping[str, Any]) -> pd.DataFrame:
    """The rows that have these values in these columns; a null is a value like any other."""
    same = pd.Series(True, index=table.index)
    for name, value in wanted.items():
        same &= table[name].isna() if pd.isna(value) else table[name] == value
    return table[same]


def by_item(group: pd.DataFrame) -> pd.DataFrame:
    """Correctness as (items, runs): rows sorted by item, a column for each seed and sample."""
    return group.pivot(index="item", columns=RUN_KEYS, values="correct").astype(float).sort_index()


def passed(scores: pd.DataFrame) -> pd.DataFrame:
    """`by_item` scores to pass@k, k all that were drawn: whether any of a seed's answers is right, (items, seeds)."""
    return scores.T.groupby(level="seed").max().T


def _controls(items: pd.DataFrame, arm: str) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Correctness under the arm that others are compared with, by (experiment, student, task)."""
    control = items[items["arm"] == arm]
    keys = ["experiment", "student", "task"]
    if control.duplicated([*keys, *RUN_KEYS, "item"]).any():
        raise RunError(f"a student has more than one arm '{arm}'; differences need a single one to refer to")
    return {key: by_item(group) for key, group in grouped(control, keys)}


def named(prefix: str, estimate: Estimate) -> dict[str, float]:
    """An estimate as three columns: `prefix`, `prefix_low`, `prefix_high`."""
    return {prefix: estimate.value, f"{prefix}_low": estimate.low, f"{prefix}_high": estimate.high}


def accuracy_columns(scores: pd.DataFrame) -> dict[str, float]:
    """accuracy, low, high, n, seeds and seed_sd of `by_item` scores, as `SCORE_COLUMNS` says."""
    value, low, high = statistics.accuracy(scores)
    by_seed = scores.T.groupby(level="seed").mean().mean(axis=1)
    spread = float(by_seed.std(ddof=1))  # null for one seed
    return {"accuracy": value, "low": low, "high": high, "n": len(scores), "seeds": len(by_seed), "seed_sd": spread}


def _rates(group: pd.DataFrame) -> dict[str, float]:
    return {
        "truncated": float(group["truncated"].mean()),
        "no_answer": 1 - float(group["answered"].mean()),
        "response_tokens": float(group["response_tokens"].mean()),
    }


def _comparison(scores: pd.DataFrame, control: pd.DataFrame) -> dict[str, float | None]:
    """The paired difference to the control, over the same items."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    after, before = scores.mean(axis=1), control.mean(axis=1)
    lost, gained = float((before * (1 - after)).mean()), float((after * (1 - before)).mean())
    p = statistics.paired_p(scores, control)
    changes = after - before
    # Of one run each both are the share of items that changed.
    squared, absolute = float((changes**2).mean()), float(changes.abs().mean())
    detectable = statistics.detectable_drop(len(scores), squared, absolute)
    difference = named("difference", statistics.paired_difference(scores, control, rng))
    return {**difference, "lost": lost, "gained": gained, "p": p, "detectable": detectable}


def _add_holm(table: pd.DataFrame, measured: list[tuple[str, ...]]) -> None:
    """`measured`: the scores that each row is made of. Rows of the same ones, such as a damaged student and it given a
    beginning of no tokens, are one comparison."""
    table["p_holm"] = table["p_holm"].astype(float)  # holds only gaps so far, of no type
    compared = table[table["p"].notna()]
    for _, family in grouped(compared, ["experiment", "student", "task"]):
        p = {measured[row]: family.at[row, "p"] for row in family.index}
        adjusted = dict(zip(p, statistics.holm(list(p.values())), strict=True))
        table.loc[family.index, "p_holm"] = [adjusted[measured[row]] for row in family.index]


def _add_floors(table: pd.DataFrame, answers: list[pd.DataFrame]) -> None:
    """For each arm the highest of chance and the scripted answers; these are not compared with themselves.

    An arm is at its floor when the 95 % interval of its paired difference to the scripted answers, which are a sample
    too, reaches zero; for chance, which is known, when that of its accuracy reaches it.
    """
    scripted = table["arm"].map(is_floor)
    floors = table[scripted]
    found: dict[Any, tuple[float, str, bool]] = {}
    for number, row in enumerate(table.to_dict("records")):
        if is_floor(row["arm"]):
            continue
        same = matching(floors, {name: row[name] for name in ("student", "task", "experiment")})
        best = same["accuracy"].max()
        if pd.notna(row["chance"]) and not row["chance"] < best:
            found[number] = (row["chance"], "chance", row["low"] <= row["chance"])
        elif len(same):
            name = str(same.loc[same["accuracy"] == best, "arm"].max())
            floor = int(np.flatnonzero(table.index.isin(same.index[same["arm"] == name]))[0])
            rng = np.random.default_rng(BOOTSTRAP_SEED)
            above = statistics.paired_difference(answers[number], answers[floor], rng)
            found[number] = (best, name, above.low <= 0)
    columns = zip(*found.values(), strict=True) if found else ([], [], [])
    for name, values, kind in zip(["floor", "floor_arm", "at_floor"], columns, [float, object, object], strict=True):
        table[name] = pd.Series(dict(zip(found, values, strict=True)), dtype=kind)
    table["at_floor"] = table["at_floor"].eq(True)
