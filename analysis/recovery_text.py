"""The tables of the interventions in words and Markdown, for a notebook."""

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.style import CONDITIONS
from offmodel.pairs import OFF_MODEL
from offmodel.results import UNTRAINED

_CALCULATION = re.compile(r"\s*\d+\s*[-+*/×÷]\s*\d")


def markdown_costs(costs: pd.DataFrame) -> str:
    """A table for each student, teacher and task: the settings of each intervention, what each costs, and the share of
    the loss that it brings back."""
    texts = []
    for (student, after, title), rows in costs.groupby(["student", "after", "task_title"], sort=False):
        lines = [f"**{title}**, {student} taught by {after}", "", "| intervention | setting | tokens | | recovered |",
                 "|---|---|---:|---|---:|"]  # fmt: skip
        for row in rows.to_dict("records"):
            tokens = "" if pd.isna(row["cost_tokens"]) else f"{row['cost_tokens']:,.0f}"
            cells = [_words(row["intervention"]), row["setting"], tokens, row["cost_kind"], _fraction(row, "")]
            lines.append(f"| {' | '.join(cells)} |")
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def recovery_lines(table: pd.DataFrame, told_apart_by: Sequence[str]) -> str:
    """A line for each row of a table with `pairs.RECOVERY_COLUMNS`: what it is, its accuracy, and what it recovers."""
    lines = []
    for row in table.to_dict("records"):
        apart = [f"{name.replace('_', ' ')} {row[name]}" for name in told_apart_by[1:] if pd.notna(row[name])]
        what = ", ".join([_words(row[told_apart_by[0]]), *apart])
        accuracy, low, high = (100 * row[name] for name in ("accuracy", "low", "high"))
        scored = f"{accuracy:.1f} % [{low:.1f}, {high:.1f}] of {row['n']}" if row["n"] else "no problem is left"
        recovered = f", recovered {_fraction(row, 'fraction_')}" if row["arm"] != "untrained" else ""
        lines.append(f"- {row['task_title']}, {what}: {scored}{recovered}")
    return "\n".join(lines)


def markdown_beginnings(items: pd.DataFrame, answers: pd.DataFrame, task: str, tokens: int) -> str:
    """What a beginning of so many tokens hands over (script 07): right answers by whether the untrained student begins
    with the calculation itself, such as `4 * 7`, or with anything else.

    Args:
        items: of the experiment.
        answers: `answers.parquet` of it.
    """
    of_task = items[items["task"] == task]
    given = of_task[of_task["opening"].eq("untrained") & of_task["tokens"].eq(tokens)]
    asked = {
        "untrained": of_task[of_task["arm"] == UNTRAINED],
        f"off-model SFT, given {tokens} tokens": given[given["arm"] == "prefill"],
        "off-model SFT": of_task[of_task["arm"] == OFF_MODEL],
    }
    own = answers[(answers["task"] == task) & (answers["arm"] == UNTRAINED)].set_index("item")["response"]
    kinds = own.map(lambda text: "the calculation" if _CALCULATION.match(str(text)) else "words, or another number")
    lines = [f"| the beginning is | problems | {' | '.join(asked)} |", "|---|" + "---:|" * (1 + len(asked))]
    for kind, members in kinds.groupby(kinds):
        right = [int(rows.loc[rows["item"].isin(members.index), "correct"].sum()) for rows in asked.values()]
        lines.append(f"| {kind} | {len(members)} | {' | '.join(map(str, right))} |")
    return "\n".join(lines)


def _words(arm: Any) -> str:
    return CONDITIONS[arm].label if arm in CONDITIONS else str(arm)


def _fraction(row: dict[Any, Any], prefix: str) -> str:
    ends = [row["fraction"], row[f"{prefix}low"], row[f"{prefix}high"]]
    if pd.isna(ends[0]):
        return "undefined"
    interval = f"[{ends[1]:.2f}, {ends[2]:.2f}]" if pd.notna(ends[1]) else "[no interval]"
    return f"{ends[0]:.2f} {interval}"
