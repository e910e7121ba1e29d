"""The tables of the interventions in words and Markdown, for a notebook."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.style import CONDITIONS


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


def _words(arm: Any) -> str:
    return CONDITIONS[arm].label if arm in CONDITIONS else str(arm)


def _fraction(row: dict[Any, Any], prefix: str) -> str:
    ends = [row["fraction"], row[f"{prefix}low"], row[f"{prefix}high"]]
    if pd.isna(ends[0]):
        return "undefined"
    interval = f"[{ends[1]:.2f}, {ends[2]:.2f}]" if pd.notna(ends[1]) else "[no interval]"
    return f"{ends[0]:.2f} {interval}"
