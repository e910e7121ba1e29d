"""Offline reinforcement learning as a table (script 17): what each way of learning from own answers gains, and from how
many tokens."""

from typing import Any, Final

import pandas as pd

from offmodel import statistics
from offmodel.published import published_accuracy
from offmodel.results import UNTRAINED, by_item, grouped, matching, named, passed

ARMS: Final = [
    *(UNTRAINED, "dpo", "rft", "grpo", "offline_dft", "offline_iw_sft"),  # the order of the paper's table
    *("solutions_sft", "solutions_dft"),
]

_CHANGE: Final = {"change": "difference", "change_low": "difference_low", "change_high": "difference_high"}
COLUMNS = [
    "experiment", "student", "task", "task_title", "arm", "samples", "accuracy", "low", "high", "n", "seeds", *_CHANGE,
    "pass", "pass_low", "pass_high",
    "response_tokens", "sampled_tokens", "trained_tokens", "published",
]  # fmt: skip


def offline_table(items: pd.DataFrame, scores: pd.DataFrame, curves: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row for each student, task and arm of `ARMS` that is there. `scores` is `results.score_table` of the items,
    `curves` the trainings (`offmodel.collect.training_curves`). `COLUMNS`:
        accuracy, low, high: avg@k, the mean over problems, seeds and k = `samples` answers of each, with
            the 95 % interval of `statistics.accuracy`.
        pass: pass@k, whether any of a seed's k answers is right, likewise.
        change: from untrained, paired by problem (`statistics.paired_difference`); null for untrained itself.
        response_tokens: mean of an answer to the benchmark.
        sampled_tokens, trained_tokens: of one training (mean over seeds), the answers that the student drew for it or
            for the choice of its problems, wrong ones included, and what it learned from, prompts included; null where
            there is no curve.
        published: `published.published_accuracy`; null where the paper's setting is another one.
    """
    rows: list[dict[str, Any]] = []
    for _, own in grouped(scores, ["experiment", "student", "task"]):
        for arm in ARMS:
            for score in own[own["arm"] == arm].to_dict("records"):
                row = {name: score[name] for name in COLUMNS if name in score}
                row |= {name: score[there] for name, there in _CHANGE.items()}
                of_arm = {name: row[name] for name in ("experiment", "student", "arm")}
                made = matching(items, {**of_arm, "task": row["task"]})
                row["samples"] = int(made["sample"].nunique())
                row |= named("pass", statistics.accuracy(passed(by_item(made))))
                row["published"] = published_accuracy(
                    row["student"], row["arm"], row["task"], row["n"], row["samples"], score["adapter"]
                )
                rows.append(row | (_tokens(matching(curves, of_arm)) if curves is not None else {}))
    numbers = [*_CHANGE, "sampled_tokens", "trained_tokens", "published"]
    return pd.DataFrame(rows, columns=COLUMNS).astype({name: float for name in numbers})


def _tokens(curve: pd.DataFrame) -> dict[str, float]:
    by_seed = curve.reindex(columns=["seed", "sampled_tokens", "tokens"]).groupby("seed").sum(min_count=1)
    return {"sampled_tokens": by_seed["sampled_tokens"].mean(), "trained_tokens": by_seed["tokens"].mean()}
