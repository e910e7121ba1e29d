"""Training on maths problems in words and Markdown: on their solutions (T2), and on the student's own answers (T3). The
numbers are those of `offmodel.math_training` and `offmodel.offline_compared`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.load import NothingToDrawError, Results
from analysis.style import condition
from analysis.tables import change_cell
from offmodel.math_training import AVERAGE, by_greedy, final_table
from offmodel.offline_compared import offline_table
from offmodel.published import SOURCE
from offmodel.results import UNTRAINED

_AVG_AND_PASS = (
    "avg@k: mean accuracy of k answers to each problem; pass@k: share of the problems of which any of the k is right"
)


def markdown_t2(results: Results) -> str:
    """T2 as Markdown: students and objectives against tasks, avg@k and pass@k at the last step with their 95 %
    intervals, and the DFT paper's avg@k where it measures the same.

    Raises:
        NothingToDrawError: no student was trained on solutions.
    """
    table = final_table(results.items, results.scores)
    if (table["arm"] == UNTRAINED).all():
        raise NothingToDrawError("no student was trained on solutions of problems")
    titles = dict(zip(table["task"], table["task_title"], strict=True))
    tasks = sorted(titles, key=lambda task: task == AVERAGE)
    k = int(table["samples"].max())
    heads = [f"{titles[task]}, {rule}@{k}" for task in tasks for rule in ("avg", "pass")]
    lines = [f"| student | objective | steps | {' | '.join(heads)} |", f"|---|---|---:|{'---:|' * len(heads)}"]
    for (student, arm), rows in table.groupby(["student", "arm"], sort=False):
        cells = []
        for task in tasks:
            own = rows[rows["task"] == task]
            cells += [_score_cell(own.iloc[0]), _pass_cell(own.iloc[0])] if len(own) else ["", ""]
        lines.append(f"| {student} | {condition(str(arm)).label} | {rows['step'].iloc[0]} | {' | '.join(cells)} |")
    lines += ["", f"{_AVG_AND_PASS}."]
    if table["published"].notna().any():
        lines += ["", f"Published: {SOURCE}."]
    return "\n".join(lines)


def markdown_t3(results: Results) -> str:
    """The table as Markdown with its legend below: a row for each task, student and arm.

    Raises:
        NothingToDrawError: no student was trained on its own answers.
    """
    table = offline_table(results.items, results.scores, results.curves)
    if (table["arm"] == UNTRAINED).all():
        raise NothingToDrawError("no student was trained on its own answers to problems")
    published = bool(table["published"].notna().any())
    columns = ["avg@k % [95 %]", "pass@k % [95 %]", "change of avg@k, points [95 %]", "tokens", "sampled", "trained"]
    columns += ["published %"] if published else []
    lines = [f"| task | student | arm | {' | '.join(columns)} |", "|---|---|---|" + "---:|" * len(columns)]
    for row in table.to_dict("records"):
        task = f"{row['task_title']}, n = {row['n']}, k = {row['samples']}"
        cells = [task, row["student"], condition(row["arm"]).label, *_cells(row)]
        cells += [_number(100 * row["published"], ".2f")] if published else []
        lines.append(f"| {' | '.join(cells)} |")
    instead = bool(table["arm"].str.startswith("solutions_").any())
    return "\n".join([*lines, "", _legend(int(table["seeds"].max()), published, instead)])


def markdown_by_greedy(items: pd.DataFrame, greedy: pd.DataFrame) -> str:
    """`math_training.by_greedy` as Markdown, avg@k and pass@k in per cent with 95 % intervals: a row for each arm, the
    problems that the untrained student solves greedily apart from the others."""
    table = by_greedy(items, greedy)
    lines = []
    for (student, task), own in table.groupby(["student", "task"], sort=False):
        n = own.drop_duplicates("solved").set_index("solved")["n"]
        parts = {
            solved: f"{'' if solved else 'not '}solved greedily (n = {n.get(solved, 0)})" for solved in (True, False)
        }
        heads = [f"{part}, {rule}@k" for part in parts.values() for rule in ("avg", "pass")]
        lines += [f"| {student}, {task} | {' | '.join(heads)} |", "|---|---:|---:|---:|---:|"]
        for arm, rows in own.groupby("arm", sort=False):
            cells = {row["solved"]: [_interval_cell(row), _pass_cell(row)] for row in rows.to_dict("records")}
            both = [cell for solved in parts for cell in cells.get(solved, ["", ""])]
            lines.append(f"| {condition(str(arm)).label} | {' | '.join(both)} |")
        lines.append("")
    return "\n".join(lines[:-1])


def _score_cell(row: pd.Series) -> str:
    published = f"; published {100 * row['published']:.2f}" if pd.notna(row["published"]) else ""
    return f"{_interval_cell(row)}{published}"


def _pass_cell(row: Mapping[Any, Any] | pd.Series) -> str:
    return _interval_cell({"accuracy": row["pass"], "low": row["pass_low"], "high": row["pass_high"]})


def _interval_cell(row: Mapping[Any, Any] | pd.Series) -> str:
    value, low, high = (f"{100 * row[name]:.1f}" for name in ("accuracy", "low", "high"))
    return f"{value} [{low}, {high}]"


def _cells(row: dict[Any, Any]) -> list[str]:
    return [
        _interval_cell(row),
        _pass_cell(row),
        change_cell(row, "change"),
        f"{row['response_tokens']:.0f}",
        *(_number(row[name], ",.0f") for name in ("sampled_tokens", "trained_tokens")),
    ]


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) else f"{value:{form}}"


def _legend(seeds: int, published: bool, instead: bool) -> str:
    parts = [
        f"{_AVG_AND_PASS}; n problems, {seeds} seed{'s' * (seeds > 1)}, 95 % interval by Wilson at the effective "
        "number of problems",
        "change: from untrained, paired by problem, 95 % interval by bootstrap over problems",
        "tokens: mean length of an answer",
        "sampled: tokens of its own answers that the student drew for the training, or the choice of its problems, "
        "wrong ones included",
        "trained: tokens that it learned from, prompts included",
    ]
    if instead:
        parts.append("their solutions: in the place of each right answer the solution that comes with its problem")
    if published:
        parts.append(f"published: {SOURCE}")
    return "; ".join(parts) + "."
