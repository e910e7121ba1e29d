"""The same recipe made twice: how far a score moves that should not."""

import pandas as pd

from analysis.style import condition, details, in_order
from offmodel.results import is_floor


def markdown_repeats(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Every score that is in both tables of items, made by two runs: right answers in each, and verdicts that differ.

    The same name of the scores is the same recipe: model, training data, seed, problems and decoding. What differs is
    where and when it was made, and how answers were batched, which rounds otherwise and turns close choices.
    """
    both = first[first["scores_id"].isin(second["scores_id"]) & ~first["arm"].map(is_floor)]
    both = both.drop_duplicates(["scores_id", "item", "sample"])  # scores that two arms share
    again = second.drop_duplicates(["scores_id", "item", "sample"]).set_index(["scores_id", "item", "sample"])
    joined = in_order(both.assign(detail=details(both))).join(
        again[["correct"]].add_suffix("_again"), on=["scores_id", "item", "sample"], how="inner"
    )
    lines = ["| task | student | arm | right | right again | other verdicts |", "|---|---|---|---:|---:|---:|"]
    keys = ["task_title", "student", "arm", "detail", "seed"]
    for key, rows in joined.groupby(keys, sort=False):
        title, student, arm, detail, seed = map(str, key)  # type: ignore[call-overload]
        before, after = rows["correct"].astype(bool), rows["correct_again"].astype(bool)
        more = ", ".join(part for part in (detail, f"seed {seed}") if part)
        counts = [f"{before.sum()} of {len(rows)}", f"{after.sum()}", f"{(before != after).sum()}"]
        lines.append(f"| {' | '.join([title, student, f'{condition(arm).label} ({more})', *counts])} |")
    return "\n".join(lines)
