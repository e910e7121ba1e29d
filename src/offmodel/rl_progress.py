"""What reinforcement learning brings back, update by update, as a table (script 12).

All is computed from the tables of one experiment: items and scores (`offmodel.results`), curves
(`offmodel.collect.training_curves`) and style (`offmodel.style`).
"""

from typing import Any

import pandas as pd

from offmodel.pairs import OFF_MODEL, PAIR_KEYS, recovery_columns
from offmodel.results import TASK_KEYS, UNTRAINED, by_item, matching
from offmodel.style import style_effects

RL = "rl"
STARTS = [OFF_MODEL, UNTRAINED]
_SCORES = ["accuracy", "low", "high", "n", "seeds"]  # as in the score table
_CHANGE = ["change", "change_low", "change_high", "p"]
_FRACTION = ["fraction", "fraction_low", "fraction_high", "reason"]
_SHIFT = ["shift", "shift_low", "shift_high"]
_TOKENS = ["training_tokens", "sampled_tokens"]
COLUMNS = [
    *PAIR_KEYS, "arm", "start", "reward", "updates", *_SCORES, *_CHANGE, *_FRACTION, "mean_reward", *_TOKENS, *_SHIFT,
]  # fmt: skip
_CURVE_KEYS = ["experiment", "student", "after", "start", "reward", "step"]
CURVE_COLUMNS = [*_CURVE_KEYS, "mean_reward", *_TOKENS, "seeds"]


def rl_table(
    items: pd.DataFrame, scores: pd.DataFrame, curves: pd.DataFrame | None = None, style: pd.DataFrame | None = None
) -> pd.DataFrame:
    """A row for each student, teacher of the damage (`after`), task, start, reward and number of updates.

    The two starts come first, with 0 updates and no reward: untrained, and off_model_sft. `scores` is
    `results.score_table` of the items. `COLUMNS`:
        change, p: of accuracy from that start, paired by problem (`statistics.paired_difference`, and as in
            `pairs.RECOVERY_COLUMNS`); null for the starts.
        fraction, reason: share of what off-model SFT took that is back (`statistics.recovery_fraction`), where that is
            the start; where it, or its interval, is undefined, the reason why.
        mean_reward: of the answers sampled at that update, over seeds; null where there is no curve.
        training_tokens, sampled_tokens: of all updates so far, prompts and answers, and the answers alone; as above.
        shift: of style towards the teacher from untrained, on the task, in [−1, 1] (`style.style_effects`); null where
            no style was measured.
    """
    rows: list[dict[str, Any]] = []
    curve = reward_curves(curves)
    shifts = style_effects(style) if style is not None and not style.empty else None
    reinforced = scores[scores["arm"] == RL]
    keys_of = ["experiment", "student", "after", "task"]
    for values, own in reinforced.groupby(keys_of, sort=False) if len(reinforced) else ():
        keys = dict(zip(keys_of, values, strict=True))
        same = {name: keys[name] for name in ("experiment", "student", "task")}
        chosen = {
            UNTRAINED: same | {"arm": UNTRAINED},
            OFF_MODEL: same | {"arm": OFF_MODEL, "teacher": keys["after"]},
        }
        correct = {arm: by_item(matching(items, wanted)) for arm, wanted in chosen.items()}
        for arm, wanted in chosen.items():
            for _, score in matching(scores, wanted).iterrows():
                row = keys | {"arm": arm, "start": arm, "updates": 0} | _kept(score)
                rows.append(row | _shift(shifts, wanted | {"compared_with": keys["after"]}, arm))
        for _, score in own.sort_values(["start", "reward", "updates"], kind="stable").iterrows():
            wanted = keys | {"arm": RL} | {name: score[name] for name in ("start", "reward", "updates")}
            at = {name: wanted[name] for name in ("experiment", "student", "after", "start", "reward")}
            step = matching(curve, at | {"step": score["updates"]})
            row = wanted | _kept(score)
            row |= {name: step[name].iloc[0] for name in ["mean_reward", *_TOKENS]} if len(step) else {}
            row |= _compared(by_item(matching(items, wanted)), correct, score)
            rows.append(row | _shift(shifts, wanted | {"compared_with": keys["after"]}, RL))
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = [*_CHANGE, *_FRACTION[:-1], "mean_reward", *_TOKENS, *_SHIFT]
    return table.astype({"updates": int, **{name: float for name in numbers}})


def reward_curves(curves: pd.DataFrame | None) -> pd.DataFrame:
    """A row for each training and update, `step`: `mean_reward` of the answers sampled there, and the tokens of all
    updates so far, means over `seeds` seeds.

    Columns: `CURVE_COLUMNS`. No rows without trainings of the arm rl; no tokens where they were not counted.
    """
    if curves is None or not (curves["arm"] == RL).any():
        return pd.DataFrame(columns=CURVE_COLUMNS)
    # The reward that an arm is named after has taken the name of what was earned.
    columns = [*_CURVE_KEYS, "seed", "reward_of_step", "tokens", "sampled_tokens"]
    own = curves.loc[curves["arm"] == RL].reindex(columns=columns)
    so_far = own.groupby([*_CURVE_KEYS[:-1], "seed"])[["tokens", "sampled_tokens"]].cumsum()
    own[_TOKENS] = so_far.astype(float)
    grouped = own.groupby(_CURVE_KEYS, sort=False)
    means = {name: (name, "mean") for name in _TOKENS}
    return grouped.agg(mean_reward=("reward_of_step", "mean"), **means, seeds=("seed", "nunique")).reset_index()


def _kept(score: pd.Series) -> dict[str, Any]:
    return {name: score[name] for name in [*TASK_KEYS[1:], *_SCORES]}


def _compared(scores: pd.DataFrame, starts: dict[str, pd.DataFrame], score: pd.Series) -> dict[str, Any]:
    """`_CHANGE` and `_FRACTION` of one arm, from where it started; null with the reason where an arm is not there."""
    if score["start"] != OFF_MODEL:  # the score table compares with untrained
        return dict(zip(_CHANGE, score[["difference", "difference_low", "difference_high", "p"]], strict=True))
    untrained, off_model = (None if starts[arm].empty else starts[arm] for arm in (UNTRAINED, OFF_MODEL))
    found = recovery_columns(scores, untrained, off_model)
    return {name: found[name] for name in [*_CHANGE, *_FRACTION]}


def _shift(shifts: pd.DataFrame | None, wanted: dict[str, Any], arm: str) -> dict[str, float]:
    if arm == UNTRAINED:
        return {} if shifts is None else {"shift": 0.0}
    found = matching(shifts, wanted) if shifts is not None else pd.DataFrame()
    return {name: float(found[name].iloc[0]) for name in _SHIFT} if len(found) else {}
