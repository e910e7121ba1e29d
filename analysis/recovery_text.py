"""The tables of the interventions in words and Markdown: T4, and what notebooks show."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.load import NothingToDrawError, Results, load_those
from analysis.style import CONDITIONS
from analysis.tables import p_cell
from offmodel.best_of_n import best_of_n_table
from offmodel.costs import cost_table
from offmodel.evaluation.registry import load_items
from offmodel.inoculation import FRAMED, inoculation_table
from offmodel.recovery import REVERSED, prefill_table, repair_table
from offmodel.results import UNTRAINED, is_floor
from offmodel.rl_progress import rl_table
from offmodel.statistics import FEW_CHANGES

# By the argument of `cost_table`: the experiment, and its table.
_TABLES: dict[str, tuple[str, Callable[[Results], pd.DataFrame]]] = {
    "repair": ("06_on_model_repair", lambda results: repair_table(results.items, results.curves)),
    "prefill": ("07_prefill", lambda results: prefill_table(results.items)),
    "inoculation": ("10_inoculation", lambda results: inoculation_table(results.items)),
    "best_of_n": ("11_best_of_n", lambda results: best_of_n_table(results.items, results.answers, results.guesses)),
    "rl": ("12_rl", lambda results: rl_table(results.items, results.scores, results.curves)),
}
WAYS_BACK = tuple(experiment for experiment, _ in _TABLES.values())
_LEGEND = (
    "recovered: share of what off-model SFT took that is back, 0 where it left the student, 1 where it was untrained, "
    "with its 95 % interval over problems; undefined where the loss is below 5 points, without an interval where it "
    f"cannot be told from none or fewer than {FEW_CHANGES} problems changed; p: of the change from the damaged "
    "student, exact McNemar (several seeds: sign-flip), each setting for itself, so that of twenty that do nothing "
    "one is below 0.05; tokens: what it costs beyond asking the damaged student once, of a training prompts and "
    "answers, in brackets those of them that the student sampled, and the kinds do not add up; prefill "
    "leaves out the problems whose beginning already holds an answer, and compares on the others; best of n is "
    "compared with one sampled answer of the untrained student, each less what as many answers to other problems "
    "guess, if those are numbers (of formulas that is not known, and is not taken off), the others with its greedy "
    "one; RL goes on from a gentler damage than the others where the preset has an `[rl] sft_learning_rate`, is "
    "compared with that one, and learns from problems of the kind that is scored."
)
_HEAD = ["| intervention | setting | tokens | paid | accuracy % | recovered | p |", "|---|---|---:|---|---:|---:|---:|"]


def markdown_t4(folder: Path, loaded: Mapping[str, Results] | None = None) -> str:
    """All ways back of one preset on one axis, from the results that are in its folder, with the legend below.

    Those of experiments in `loaded` are not read, and scored, again.

    Raises:
        NothingToDrawError: no experiment there tries to bring anything back.
    """
    known = load_those(folder, WAYS_BACK, loaded)
    tables = {name: table(known[experiment]) for name, (experiment, table) in _TABLES.items() if experiment in known}
    costs = cost_table(**tables)
    if costs.empty:
        raise NothingToDrawError("nothing was tried that brings a capability back")
    return f"{markdown_costs(costs)}\n\n{_LEGEND}"


def markdown_costs(costs: pd.DataFrame) -> str:
    """A table for each student, teacher and task: the settings of each intervention, what each costs, the accuracy with
    it, and the share of the loss that it brings back."""
    texts = []
    for (student, after, title), rows in costs.groupby(["student", "after", "task_title"], sort=False):
        lines = [f"**{title}**, {student} taught by {after}", "", *_HEAD]
        for row in rows.to_dict("records"):
            tokens = "" if pd.isna(row["cost_tokens"]) else f"{row['cost_tokens']:,.0f}"
            tokens += f" ({row['sampled_tokens']:,.0f} sampled)" if (row["sampled_tokens"] or 0) > 0 else ""
            right = "" if pd.isna(row["accuracy"]) else f"{100 * row['accuracy']:.1f}"
            cells = [_words(row["intervention"]), row["setting"], tokens, row["cost_kind"], right, _fraction(row, "")]
            lines.append(f"| {' | '.join([*cells, p_cell(row['p'])])} |")
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def recovery_lines(table: pd.DataFrame, told_apart_by: Sequence[str]) -> str:
    """A line for each row of a table with `pairs.RECOVERY_COLUMNS`: what it is, its accuracy, and what the damaged
    student recovers; an untrained one, however it is asked, recovers nothing."""
    lines = []
    for row in table.to_dict("records"):
        what = _told(row, told_apart_by)
        accuracy, low, high = (100 * row[name] for name in ("accuracy", "low", "high"))
        scored = f"{accuracy:.1f} % [{low:.1f}, {high:.1f}] of {row['n']}" if row["n"] else "no problem is left"
        untrained = row["arm"] in (UNTRAINED, FRAMED, REVERSED)
        recovered = "" if untrained else f", recovered {_fraction(row, 'fraction_')}"
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
