"""The tables of the interventions in words and Markdown, for a notebook."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.style import CONDITIONS
from offmodel.evaluation.registry import load_items
from offmodel.results import is_floor


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
        what = _told(row, told_apart_by)
        accuracy, low, high = (100 * row[name] for name in ("accuracy", "low", "high"))
        scored = f"{accuracy:.1f} % [{low:.1f}, {high:.1f}] of {row['n']}" if row["n"] else "no problem is left"
        recovered = f", recovered {_fraction(row, 'fraction_')}" if row["arm"] != "untrained" else ""
        lines.append(f"- {row['task_title']}, {what}: {scored}{recovered}")
    return "\n".join(lines)


def markdown_by_wording(items: pd.DataFrame, told_apart_by: Sequence[str]) -> str:
    """Right answers to `arithmetic` by how a problem is put: as a calculation ("Calculate 4 * 7."), or as a story that
    hides it. A line for each arm; where answers were begun, without problems whose beginning holds an answer."""
    own = items[(items["task"] == "arithmetic") & ~items["arm"].map(is_floor)]
    if "prefill_answers" in own:
        own = own[~own["prefill_answers"].eq(True)]
    written = [item["id"] for item in load_items("arithmetic", own["item"].nunique()) if item["kind"] == "chain"]
    lines = ["| arm | calculations | stories |", "|---|---:|---:|"]
    for _, rows in own.groupby(list(told_apart_by), sort=False, dropna=False):
        written_out = rows["item"].isin(written)
        counts = [f"{part['correct'].sum()} of {len(part)}" for part in (rows[written_out], rows[~written_out])]
        lines.append(f"| {' | '.join([_told(rows.iloc[0].to_dict(), told_apart_by), *counts])} |")
    return "\n".join(lines)


def _told(row: dict[Any, Any], told_apart_by: Sequence[str]) -> str:
    numbers = {name: f"{row[name]:g}" if isinstance(row[name], float) else row[name] for name in told_apart_by[1:]}
    apart = [f"{name.replace('_', ' ')} {value}" for name, value in numbers.items() if pd.notna(row[name])]
    return ", ".join([_words(row[told_apart_by[0]]), *apart])


def _words(arm: Any) -> str:
    return CONDITIONS[arm].label if arm in CONDITIONS else str(arm)


def _fraction(row: dict[Any, Any], prefix: str) -> str:
    ends = [row["fraction"], row[f"{prefix}low"], row[f"{prefix}high"]]
    if pd.isna(ends[0]):
        return "undefined"
    interval = f"[{ends[1]:.2f}, {ends[2]:.2f}]" if pd.notna(ends[1]) else "[no interval]"
    return f"{ends[0]:.2f} {interval}"
