"""What objectives keep and learn (F14), in words and numbers: T6, and a table for notebooks."""

import math
from typing import Any

import pandas as pd

from analysis.load import NothingToDrawError, Results
from analysis.style import condition
from analysis.tables import change_cell
from offmodel.objectives_compared import NLL, PARAMETERS, STYLE, objective_table
from offmodel.results import UNTRAINED

_LEGEND = (
    "Learned: by how much the teacher's answers to held-out prompts became likelier, nats a token, with its 95 % "
    "interval by bootstrap over prompts. Of each task the change of accuracy from untrained in points, with that over "
    "problems, bold where p < 0.05 after Holm's correction over the task's column; style: the shift of the answers "
    "towards the teacher's, from 0 to 100 (what a classifier tells)."
)


def markdown_t6(results: Results) -> str:
    """T6 as Markdown: a table for each student and teacher, a row for each objective, rate and share of own answers,
    with what it learned of the teacher and what became of each task.

    Raises:
        NothingToDrawError: the untrained student did not read a teacher's answers.
    """
    table = _trained(results)
    if table.empty:
        raise NothingToDrawError("the teacher's held-out answers were not read")
    texts = []
    for (student, after), own in table.groupby(["student", "after"], sort=False):
        titles = dict(zip(own["task"], own["task_title"], strict=True))
        heads = [head for title in titles.values() for head in (title, "style")]
        lines = [f"**{student}** taught by {after}", "", f"| objective | rate | learned | {' | '.join(heads)} |"]
        lines.append("|---|---|---:|" + "---:|" * len(heads))
        for _, rows in own.groupby(["arm", *PARAMETERS], sort=False, dropna=False):
            first = rows.iloc[0]
            share = first["on_model_share"]
            name = condition(first["arm"]).label + ("" if pd.isna(share) else f", {100 * share:.0f} %")
            rate = "" if pd.isna(first["learning_rate"]) else f"{first['learning_rate']:g}"
            cells = [name, rate, _learned(rows[rows["measure"] == NLL])]
            for task in titles:
                cells += _task_cells(rows[rows["task"] == task])
            lines.append(f"| {' | '.join(cells)} |")
        texts.append("\n".join(lines))
    return "\n\n".join([*texts, _LEGEND])


def uptake_and_changes(results: Results) -> pd.DataFrame:
    """A row for each student, teacher, arm, learning rate and share of own answers, all but the untrained student.

    Columns: objective, learning_rate, "own, %" (null where nothing is mixed), NLL (by how much the teacher's held-out
    answers became likelier, nats a token), and of each task the change of accuracy and the shift of style, in points
    (null where style was not measured).
    """
    table = _trained(results)
    table["objective"] = [condition(arm).label for arm in table["arm"]]
    table["own, %"] = 100 * table["on_model_share"]
    keys = ["student", "after", "objective", "learning_rate", "own, %"]
    read = table[table["measure"] == NLL].assign(NLL=lambda rows: rows["uptake"].round(2))
    whole = read.drop_duplicates(keys)[[*keys, "NLL"]]
    for task, title in table.drop_duplicates("task")[["task", "task_title"]].itertuples(index=False):
        own = read[read["task"] == task].assign(**{title: (100 * read["change"]).round(1)})
        whole = whole.merge(own[[*keys, title]], on=keys, how="left")
        styled = table[(table["task"] == task) & (table["measure"] == STYLE)]
        styled = styled.assign(**{f"{title}, style": (100 * styled["uptake"]).round(1)})
        whole = whole.merge(styled[[*keys, f"{title}, style"]], on=keys, how="left")
    return whole.drop(columns=[name for name in ("student", "after") if whole[name].nunique() == 1])


def _trained(results: Results) -> pd.DataFrame:
    table = objective_table(results.items, results.scores, results.likelihoods, results.style)
    return table[table["uptake"].notna() & (table["arm"] != UNTRAINED)].copy()


def _learned(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    value, low, high = rows[["uptake", "uptake_low", "uptake_high"]].iloc[0].astype(float)
    return f"{value:+.2f}" if math.isnan(low) else f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _task_cells(rows: pd.DataFrame) -> list[str]:
    """The change and the shift of style on one task, of one arm."""
    if rows.empty:
        return ["", ""]
    row: dict[Any, Any] = rows.iloc[0].to_dict()
    change = change_cell(row, "change")
    if row["p_holm"] < 0.05:
        change = f"**{change}**"
    styled = rows.loc[rows["measure"] == STYLE, "uptake"]
    return [change, "" if styled.empty else str(round(100 * styled.iloc[0]))]
