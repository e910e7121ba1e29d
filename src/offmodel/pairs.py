"""How much of what off-model SFT took comes back: the comparison that the tables of all interventions share.

Every row of those tables is compared with two arms over the very same problems and seeds: the untrained student, and
the student after off-model SFT on the answers of the teacher named in `after` (`RECOVERY_COLUMNS`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from offmodel import statistics
from offmodel.errors import RunError
from offmodel.results import (
    BOOTSTRAP_SEED,
    TASK_KEYS,
    UNTRAINED,
    accuracy_columns,
    by_item,
    check_items,
    grouped,
    named,
)

OFF_MODEL = "off_model_sft"
PAIR_KEYS = ["experiment", "student", "after", *TASK_KEYS]
RECOVERY_COLUMNS = [
    "accuracy", "low", "high", "n", "seeds", "seed_sd",  # as in the score table
    "untrained", "off_model",  # accuracies of the two that it is compared with, on the same problems
    "difference", "difference_low", "difference_high",  # from untrained: statistics.paired_difference
    "change", "change_low", "change_high",  # from off-model SFT, likewise
    "p",  # of this change: exact McNemar (several runs: sign-flip); no adjustment for the number of arms
    "fraction", "fraction_low", "fraction_high", "reason",  # statistics.recovery_fraction; why there is none
]  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A student, the teacher that took something from it, and a task.

    Attributes:
        keys: the columns `PAIR_KEYS`.
        untrained, off_model: correctness of the two arms as `results.by_item` gives it, None where an arm is not there.
        others: the rows of all arms that go on from this damage, as their column `after` says.
    """

    keys: dict[str, Any]
    untrained: pd.DataFrame | None
    off_model: pd.DataFrame | None
    others: pd.DataFrame


def pairs(items: pd.DataFrame, off_model: pd.Series) -> list[Pair]:
    """All pairs of an items table, in the order in which they appear; `off_model` says which rows are the damage.

    Raises:
        RunError: the items do not keep the results contract, or a pair has two damaged arms.
    """
    check_items(items)
    after = items["after"] if "after" in items else pd.Series(None, index=items.index, dtype=object)
    keyed = items.assign(after=after.where(~off_model, items["teacher"]), damaged=off_model)
    keyed = keyed[off_model | after.notna() | (items["arm"] == UNTRAINED)]
    untrained = keyed[keyed["arm"] == UNTRAINED]
    found = []
    for _, group in grouped(keyed[keyed["after"].notna()], PAIR_KEYS):
        keys = {name: group[name].iloc[0] for name in PAIR_KEYS}
        first = untrained
        for name in ("experiment", "student", "task"):
            first = first[first[name] == keys[name]]
        damaged = group[group["damaged"]]
        others = group[~group["damaged"]].drop(columns="damaged")
        found.append(Pair(keys, _single(first, keys), _single(damaged, keys), others))
    return found


def recovery_columns(
    scores: pd.DataFrame, untrained: pd.DataFrame | None, off_model: pd.DataFrame | None, seeded: bool = True
) -> dict[str, Any]:
    """`RECOVERY_COLUMNS` of one arm. All three are correctness as (items, runs), of `results.by_item`.

    The controls may have more items and more seeds, of which the arm's are taken. An untrained student that was asked
    once is the same under every seed, as a control and, if not `seeded`, as the arm. An item's runs are averaged.
    """
    row: dict[str, Any] = dict.fromkeys(RECOVERY_COLUMNS)
    if scores.empty:
        return row | {"n": 0, "seeds": 0, "reason": "no problem is left to compare"}
    row |= accuracy_columns(scores)
    seeds = set(scores.columns.get_level_values("seed")) if seeded else set()
    controls = {UNTRAINED: _matching(untrained, scores, seeds, True), OFF_MODEL: _matching(off_model, scores, seeds)}
    names = [(UNTRAINED, "untrained", "difference"), (OFF_MODEL, "off_model", "change")]
    for arm, column, change in names:
        control = controls[arm]
        if control is None:
            row["reason"] = row["reason"] or f"there is no arm {arm} of the same seeds to compare with"
        else:
            rng = np.random.default_rng(BOOTSTRAP_SEED)
            row[column] = float(control.mean(axis=1).mean())
            row |= named(change, statistics.paired_difference(scores, control, rng))
            if arm == OFF_MODEL:
                row["p"] = statistics.paired_p(scores, control)
    if row["reason"] is None:
        found = recovery(controls[UNTRAINED], controls[OFF_MODEL], scores)
        row |= dict(zip(["fraction", "fraction_low", "fraction_high", "reason"], found, strict=True))
    return row


def recovery(untrained: Any, off_model: Any, recovered: Any) -> statistics.Recovery:
    """`statistics.recovery_fraction` from the seed that all intervals of the results start from."""
    return statistics.recovery_fraction(untrained, off_model, recovered, np.random.default_rng(BOOTSTRAP_SEED))


def ends(pair: Pair, damaged: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the two arms that all others of a pair stand between, those that are there; `damaged` are further
    columns of the second. Neither is compared with itself."""
    rows = []
    for arm, scores, itself in [(UNTRAINED, pair.untrained, "difference"), (OFF_MODEL, pair.off_model, "change")]:
        if scores is not None:
            seeded = arm != UNTRAINED
            row = pair.keys | {"arm": arm} | recovery_columns(scores, pair.untrained, pair.off_model, seeded)
            row |= dict.fromkeys([itself, f"{itself}_low", f"{itself}_high", *(["p"] if arm == OFF_MODEL else [])])
            rows.append(row | (damaged if arm == OFF_MODEL else {}))
    return rows


def _single(rows: pd.DataFrame, keys: dict[str, Any]) -> pd.DataFrame | None:
    if rows.duplicated(["seed", "sample", "item"]).any():
        arm = rows["arm"].iloc[0]
        raise RunError(f"{keys['student']} has more than one arm '{arm}' on {keys['task']} to compare with")
    return by_item(rows) if len(rows) else None


def _matching(
    control: pd.DataFrame | None, scores: pd.DataFrame, seeds: set[int], any_seed: bool = False
) -> pd.DataFrame | None:
    """The control on the same items and these seeds, all of its own for none; None where it lacks one that counts."""
    if control is None:
        return None
    own = control.columns.get_level_values("seed")
    if seeds and seeds <= set(own):
        return control.loc[scores.index, own.isin(seeds)]
    return control.loc[scores.index] if any_seed or not seeds else None
