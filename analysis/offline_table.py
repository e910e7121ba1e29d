"""T3: does the student gain more from its own answers by DFT than by other offline RL? The numbers are
`offmodel.offline_compared`'s."""

from typing import Any

import pandas as pd

from analysis.load import NothingToDrawError, Results
from analysis.style import condition
from analysis.tables import change_cell
from offmodel.offline_compared import offline_table
from offmodel.published import TRAINED_ON
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
        parts.append(f"published: {TRAINED_ON}, where student, problems and k are the same and weights were full")
    return "; ".join(parts) + "."
