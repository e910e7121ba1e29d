"""Offline reinforcement learning as a table (script 17): what each way of learning from own answers gains, and from how
many tokens."""

from typing import Any, Final

import pandas as pd

from offmodel.evaluation.registry import TASKS
from offmodel.results import UNTRAINED, grouped

ARMS: Final = [UNTRAINED, "dpo", "rft", "grpo", "offline_dft", "offline_iw_sft"]  # the order of the paper's table

# Wu et al., 2025, arXiv 2508.05629, its table on offline RL: Qwen2.5-Math-1.5B, mean accuracy (%) of 16 answers at
# temperature 1 to all problems of MATH-500 and of OlympiadBench, after training of full weights.
_STUDENT: Final = "qwen2.5-math-1.5b"
_SAMPLES: Final = 16
_PUBLISHED: Final = {
    "math500": dict(zip(ARMS, [31.66, 46.89, 48.23, 62.86, 64.71, 60.80], strict=True)),
    "olympiads": dict(zip(ARMS, [15.88, 22.86, 22.29, 28.62, 30.93, 27.83], strict=True)),
}

_CHANGE: Final = {"change": "difference", "change_low": "difference_low", "change_high": "difference_high"}
COLUMNS = [
    "experiment", "student", "task", "task_title", "arm", "samples", "accuracy", "low", "high", "n", "seeds", *_CHANGE,
    "response_tokens", "sampled_tokens", "trained_tokens", "published",
]  # fmt: skip


def offline_table(items: pd.DataFrame, scores: pd.DataFrame, curves: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row for each student, task and arm of `ARMS` that is there. `scores` is `results.score_table` of the items,
    `curves` the trainings (`offmodel.collect.training_curves`). `COLUMNS`:
        accuracy, low, high: avg@k, the mean over problems, seeds and k = `samples` answers of each; percentile
            bootstrap over problems (`statistics.accuracy`).
        change: from untrained, paired by problem (`statistics.paired_difference`); null for untrained itself.
        response_tokens: mean of an answer to the benchmark.
        sampled_tokens, trained_tokens: of one training (mean over seeds), the answers that the student drew for it,
            wrong ones included, and what it learned from, prompts included; null where there is no curve.
        published: the DFT paper's accuracy of that arm, where the student, the problems and k are the paper's and the
            arm changed full weights as there; else null.
    """
    rows: list[dict[str, Any]] = []
    for _, own in grouped(scores, ["experiment", "student", "task"]):
        for arm in ARMS:
            for score in own[own["arm"] == arm].to_dict("records"):
                row = {name: score[name] for name in COLUMNS if name in score}
                row |= {name: score[there] for name, there in _CHANGE.items()}
                row["samples"] = int(_of_arm(items, row, "task")["sample"].nunique())
                row["published"] = _published(row, score["adapter"])
                rows.append(row | (_tokens(_of_arm(curves, row)) if curves is not None else {}))
    numbers = [*_CHANGE, "sampled_tokens", "trained_tokens", "published"]
    return pd.DataFrame(rows, columns=COLUMNS).astype({name: float for name in numbers})


def _of_arm(table: pd.DataFrame, row: dict[str, Any], *more: str) -> pd.DataFrame:
    for name in ("experiment", "student", "arm", *more):
        table = table[table[name] == row[name]]
    return table


def _tokens(curve: pd.DataFrame) -> dict[str, float]:
    by_seed = curve.reindex(columns=["seed", "sampled_tokens", "tokens"]).groupby("seed").sum(min_count=1)
    return {"sampled_tokens": by_seed["sampled_tokens"].mean(), "trained_tokens": by_seed["tokens"].mean()}


def _published(row: dict[str, Any], adapter: str | None) -> float | None:
    whole = row["task"] in _PUBLISHED and row["n"] == TASKS[row["task"]].items
    same = row["student"] == _STUDENT and row["samples"] == _SAMPLES and adapter != "lora"
    return _PUBLISHED[row["task"]][row["arm"]] / 100 if whole and same else None
