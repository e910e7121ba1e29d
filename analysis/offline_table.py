"""T3: does the student gain more from its own answers by DFT than by other offline RL? And does it gain answers, or
certainty? The numbers are those of `offmodel.offline_compared` and `offmodel.math_training`."""

from typing import Any

import pandas as pd

from analysis.load import NothingToDrawError, Results
from analysis.style import condition
from analysis.tables import change_cell
from offmodel.math_training import by_greedy
from offmodel.offline_compared import offline_table
from offmodel.published import SOURCE
from offmodel.results import UNTRAINED


def markdown_t3(results: Results) -> str:
    """The table as Markdown with its legend below: a row for each task, student and arm.

    Raises:
        NothingToDrawError: no student was trained on its own answers.
    """
    table = offline_table(results.items, results.scores, results.curves)
    if (table["arm"] == UNTRAINED).all():
        raise NothingToDrawError("no student was trained on its own answers to problems")
    published = bool(table["published"].notna().any())
    columns = ["avg@k % [95 %]", "change, points [95 %]", "tokens", "sampled", "trained"]
    columns += ["published %"] if published else []
    lines = [f"| task | student | arm | {' | '.join(columns)} |", "|---|---|---|" + "---:|" * len(columns)]
    for row in table.to_dict("records"):
        task = f"{row['task_title']}, n = {row['n']}, k = {row['samples']}"
        cells = [task, row["student"], condition(row["arm"]).label, *_cells(row)]
        cells += [_number(100 * row["published"], ".2f")] if published else []
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _legend(int(table["seeds"].max()), published)])


def markdown_by_greedy(items: pd.DataFrame, greedy: pd.DataFrame) -> str:
    """`math_training.by_greedy` as Markdown, in per cent: a row for each arm, the problems that the untrained student
    solves greedily apart from the others."""
    table = by_greedy(items, greedy)
    lines = []
    for (student, task), own in table.groupby(["student", "task"], sort=False):
        n = own.drop_duplicates("solved").set_index("solved")["n"]
        heads = [
            f"{'solved' if solved else 'not solved'} greedily (n = {n.get(solved, 0)})" for solved in (True, False)
        ]
        lines += [f"| {student}, {task} | {' | '.join(heads)} |", "|---|---:|---:|"]
        shares = own.set_index(["arm", "solved"])["accuracy"]
        for arm in own["arm"].unique():
            cells = [_number(100 * shares.get((arm, solved), float("nan")), ".1f") for solved in (True, False)]
            lines.append(f"| {condition(arm).label} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines[:-1])


def _cells(row: dict[Any, Any]) -> list[str]:
    interval = f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    return [
        f"{100 * row['accuracy']:.1f} {interval}",
        change_cell(row, "change"),
        f"{row['response_tokens']:.0f}",
        *(_number(row[name], ",.0f") for name in ("sampled_tokens", "trained_tokens")),
    ]


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) else f"{value:{form}}"


def _legend(seeds: int, published: bool) -> str:
    parts = [
        f"avg@k: mean accuracy of k answers to each of n problems, {seeds} seed{'s' * (seeds > 1)}, 95 % interval by "
        "Wilson at the effective number of problems",
        "change: from untrained, paired by problem, 95 % interval by bootstrap over problems",
        "tokens: mean length of an answer",
        "sampled: tokens of its own answers that the student drew for the training, wrong ones included",
        "trained: tokens that it learned from, prompts included",
    ]
    if published:
        parts.append(f"published: {SOURCE}")
    return "; ".join(parts) + "."
