"""What comes back by further training and by a given beginning, as tables (scripts 06 and 07).

All but the cost of a training is computed from the items of one experiment (`offmodel.results`).
"""

from typing import Any

import numpy as np
import pandas as pd

from offmodel.pairs import OFF_MODEL, PAIR_KEYS, RECOVERY_COLUMNS, ends, pairs, recovery_columns
from offmodel.results import UNTRAINED, by_item, grouped
from offmodel.style import style_effects

REPAIRS = ["on_model_repair", "on_policy_distillation", "off_model_more", "third_model_repair", "random_words"]
PREFILL, REVERSED = "prefill", "prefill_reversed"
PREFILLS = [PREFILL, REVERSED]
SHIFT = ["shift", "shift_low", "shift_high"]
_TOKENS = ["training_tokens", "sampled_tokens"]


def repair_table(
    items: pd.DataFrame, curves: pd.DataFrame | None = None, style: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Further training (script 06): a row for each pair and task, arm and k, the number of answers trained on.

    Columns: `PAIR_KEYS`, arm, k, writer (of those answers; in distillation, whose probabilities are learned),
    training_tokens, sampled_tokens, `RECOVERY_COLUMNS`, `SHIFT`. The pair itself comes first: untrained, with no k, and
    off_model_sft, which is k = 0 of every arm.

    Args:
        items: of the experiment.
        curves: `curves.parquet` of it, a row for each step of each arm's last training with that step's `tokens`,
            prompts and answers; training_tokens is their sum, the mean over seeds, and null without them. So is
            sampled_tokens, those of them that the student sampled while it was trained; 0 of answers given before.
        style: `style.parquet` of it; shift, with its interval, is that of the answers' style towards the teacher of the
            damage, from untrained, as in `style.style_effects`; null without it.

    Raises:
        RunError: as `pairs.pairs`.
    """
    rows = []
    trained_on = _training_tokens(curves)
    for pair in pairs(items, items["arm"] == OFF_MODEL):
        rows += ends(pair, {"k": 0} | dict.fromkeys(_TOKENS, 0.0))
        for arm in REPAIRS:
            own = pair.others[pair.others["arm"] == arm]
            for _, group in grouped(own.sort_values("k", kind="stable"), ["k", "teacher"]) if len(own) else ():
                row = {"arm": arm, "k": group["k"].iloc[0], "writer": group["teacher"].iloc[0]}
                key = (pair.keys["experiment"], pair.keys["student"], pair.keys["after"], *row.values())
                row |= dict(zip(_TOKENS, trained_on.get(key, (np.nan, np.nan)), strict=True))
                rows.append(pair.keys | row | recovery_columns(by_item(group), pair.untrained, pair.off_model))
    columns = [*PAIR_KEYS, "arm", "k", "writer", *_TOKENS, *RECOVERY_COLUMNS]
    table = pd.DataFrame(rows, columns=columns).astype({"k": "Int64"} | dict.fromkeys(_TOKENS, float))
    return table.join(_shifts(table, style))


def _shifts(table: pd.DataFrame, style: pd.DataFrame | None) -> pd.DataFrame:
    """`SHIFT` of each row of the table."""
    found = pd.DataFrame(np.nan, index=table.index, columns=SHIFT)
    if style is None or style.empty:
        return found
    effects = style_effects(style)
    keys = ["experiment", "student", "task"]
    effects = effects.assign(k=effects.get("k", pd.Series(np.nan, effects.index)).fillna(0))
    known = effects.set_index([*keys, "compared_with", "arm", "k", "teacher"])[SHIFT]
    for index, row in table.iterrows():
        key = (*row[[*keys, "after", "arm"]], 0 if pd.isna(row["k"]) else int(row["k"]))
        key += (row["after"] if row["arm"] == OFF_MODEL else row["writer"],)
        if row["arm"] == UNTRAINED:
            found.loc[index, "shift"] = 0.0
        elif key in known.index:
            found.loc[index] = known.loc[[key]].iloc[0]
    return found


def _training_tokens(curves: pd.DataFrame | None) -> dict[tuple[Any, ...], tuple[float, float]]:
    """By experiment, student, after, arm, k and writer, `_TOKENS` of a training, mean over seeds."""
    if curves is None or "k" not in curves:
        return {}
    keys = ["experiment", "student", "after", "arm", "k", "teacher"]
    counted = curves[curves["k"].notna()].reindex(columns=[*keys, "seed", "tokens", "sampled_tokens"])
    by_seed = counted.groupby([*keys, "seed"])[["tokens", "sampled_tokens"]].sum()
    return {key: tuple(row) for key, *row in by_seed.groupby(level=keys).mean().itertuples()}


def prefill_table(items: pd.DataFrame) -> pd.DataFrame:
    """Given beginnings (script 07): a row for each pair and task, arm, opening (whose beginning) and its tokens.

    Columns: `PAIR_KEYS`, arm, opening, tokens, left_out, `RECOVERY_COLUMNS`. A problem is left out where the beginning
    already holds an answer (`evaluation.harness.holds_answer`) under any seed; the arm and the two that it is compared
    with are scored on the `n` others, the same for all three. The pair itself comes first, on all problems: untrained,
    and off_model_sft with 0 tokens.

    Raises:
        RunError: as `pairs.pairs`.
    """
    rows = []
    for pair in pairs(items, items["arm"] == OFF_MODEL):
        rows += ends(pair, {"tokens": 0})
        for arm in PREFILLS:
            own = pair.others[pair.others["arm"] == arm]
            own = own.assign(opening=own.get("opening"))
            for _, same in grouped(own, ["opening"]):
                for _, group in grouped(same.sort_values("tokens", kind="stable"), ["tokens"]):
                    told = group["prefill_answers"].eq(True) if "prefill_answers" in group else group["item"].isna()
                    away = set(group.loc[told, "item"])
                    kept = by_item(group[~group["item"].isin(away)])
                    row = {"arm": arm, "opening": group["opening"].iloc[0], "tokens": group["tokens"].iloc[0]}
                    row |= {"left_out": len(away)}
                    rows.append(pair.keys | row | recovery_columns(kept, pair.untrained, pair.off_model))
    columns = [*PAIR_KEYS, "arm", "opening", "tokens", "left_out", *RECOVERY_COLUMNS]
    return pd.DataFrame(rows, columns=columns).astype({"tokens": "Int64"}).fillna({"left_out": 0})
