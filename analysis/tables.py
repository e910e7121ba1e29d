"""The score table as text: what a study prints at its end, and the same for a README."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from analysis.style import condition, details, in_order
from offmodel.results import UNTRAINED, is_floor, matching, score_table

WIDTH = 110
AT_FLOOR = "~"
_COLUMNS = ["accuracy % [95 %]", "cut %", "no answer %", "tokens", "change, points [95 %]", "p"]
_SPREAD = "sd %"  # over training seeds, where there are several


class _Line(NamedTuple):
    mark: str
    arm: str
    more: str  # teacher and parameters
    cells: list[str]

    @property
    def name(self) -> str:
        return _with(self.arm, self.more)


class _Block(NamedTuple):
    task: str
    title: str
    student: str
    lines: list[_Line]


def print_scores(table: pd.DataFrame) -> str:
    """The score table as plain text of at most `WIDTH` columns: by task and student, the floor below, then a legend."""
    blocks, names = list(_blocks(table)), _columns(table)
    lines = [line for block in blocks for line in block.lines]
    widths = [max(len(text) for text in column) for column in zip(names, *[line.cells for line in lines], strict=True)]
    first = min(WIDTH - 2 - sum(width + 2 for width in widths), max(len(line.name) for line in lines))
    text: list[str] = []
    for number, block in enumerate(blocks):
        if number == 0 or block.task != blocks[number - 1].task:
            text += ["", *textwrap.wrap(block.title, WIDTH)]
        text += [_row("", f"student {block.student}", names, first, widths)]
        for line in block.lines:
            if len(line.name) > first:  # a long name has a line of its own
                text += [f"{line.mark:1} {line.name}", _row("", "", line.cells, first, widths)]
            else:
                text += [_row(line.mark, line.name, line.cells, first, widths)]
    return "\n".join([*text[1:], "", *textwrap.wrap(_legend(table), WIDTH)])


def markdown_scores(table: pd.DataFrame) -> str:
    """The score table as one Markdown table, for a README, with the legend below it."""
    names = _columns(table)
    lines = [f"| task | student | arm | {' | '.join(names)} |", "|---|---|---|" + "---:|" * len(names)]
    for block in _blocks(table):
        for line in block.lines:
            arm = " ".join(part for part in [line.mark, f"`{line.arm}`", line.more] if part)
            cells = [" ".join(cell.split()).replace("[ ", "[") for cell in line.cells]  # no padding inside a cell
            lines += [f"| {block.task} | {block.student} | {arm} | {' | '.join(cells)} |"]
    return "\n".join([*lines, "", _legend(table)])


def markdown_uncut(items: pd.DataFrame, tasks: Sequence[str]) -> str:
    """Right answers of the untrained student and of each trained one where neither answer was cut by the token limit:
    what a loss is apart from answers that come to no end. Of several seeds the means, over which pairs were uncut.

    Raises:
        ValueError: a problem has several untrained answers.
    """
    lines = ["| task | student | arm | cut in neither | right untrained | right after |", "|---|---|---|" + "---:|" * 3]
    own = items[items["task"].isin(tasks) & ~items["arm"].map(is_floor)]
    before = own[own["arm"] == UNTRAINED].set_index(["student", "task", "item"])
    if before.index.has_duplicates:
        raise ValueError("uncut answers are compared one by one, and a problem has several untrained ones")
    before = before[["correct", "truncated"]].add_suffix("_before")
    after = in_order(own[own["arm"] != UNTRAINED])
    after = after.assign(detail=details(after)).join(before, on=["student", "task", "item"])
    for key, rows in after.groupby(["task_title", "student", "arm", "detail"], sort=False):
        title, student, arm, detail = map(str, key)  # type: ignore[call-overload]
        cut = rows["truncated"].astype(bool) | rows["truncated_before"].astype(bool)
        ended, runs = rows[~cut], rows["seed"].nunique()
        right = [ended[column].sum() / runs for column in ("correct_before", "correct")]
        counts = [f"{len(ended) / runs:g} of {rows['item'].nunique()}", *(f"{count:g}" for count in right)]
        lines.append(f"| {' | '.join([title, student, _with(condition(arm).label, detail), *counts])} |")
    return "\n".join(lines)


def markdown_against(items: pd.DataFrame, control: str, tasks: Sequence[str]) -> str:
    """Every trained arm against one of them, on the same problems: a row for each task, student and arm."""
    named = condition(control).label
    trained = items[(items["arm"] != UNTRAINED) & ~items["arm"].map(is_floor) & items["task"].isin(tasks)]
    table = in_order(score_table(trained, control))
    lines = [f"| task | student | arm | change from {named}, points [95 %] | p, Holm |", "|---|---|---|---:|---:|"]
    for row, detail in zip(table.to_dict("records"), details(table), strict=True):
        if pd.notna(row["p"]):
            arm = _with(condition(row["arm"]).label, detail)
            cells = [row["task_title"], row["student"], arm, change_cell(row, "difference"), p_cell(row["p_holm"])]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _with(arm: str, more: str) -> str:
    return f"{arm} ({more})" if more else arm


def _columns(table: pd.DataFrame) -> list[str]:
    return [_COLUMNS[0], *([_SPREAD] if _several(table) else []), *_COLUMNS[1:]]


def _several(table: pd.DataFrame) -> bool:
    return bool(table["seeds"].max() > 1)


def _blocks(table: pd.DataFrame) -> Iterator[_Block]:
    """One for each task and student, with that student's floor as the last line."""
    table = in_order(table)
    table["more"] = details(table)
    scripted = table["arm"].map(is_floor)
    arms, floors = table[~scripted], table[scripted]
    for (task, student), rows in arms.groupby(["task", "student"], sort=False):
        several = _several(table)
        lines = [
            _Line(AT_FLOOR * row["at_floor"], row["arm"], row["more"], _cells(row, several))
            for _, row in rows.iterrows()
        ]
        name, value = rows["floor_arm"].iloc[0], rows["floor"].iloc[0]
        measured = matching(floors, {"student": student, "task": task, "arm": name})
        if len(measured):
            lines.append(_Line("", name, "floor", _cells(measured.iloc[0], several)))
        elif pd.notna(value):
            lines.append(_Line("", name, "floor", [_percent(value) + " " * 15] + [""] * (5 + several)))
        yield _Block(rows["task_title"].iloc[0], _title(arms[arms["task"] == task]), str(student), lines)


def _title(rows: pd.DataFrame) -> str:
    """A task's name, its numbers of items and seeds, and the loss that may be in the arms that none was found in."""
    title = f"{rows['task_title'].iloc[0]}: {rows['n'].iloc[0]} problems"
    if rows["seeds"].max() > 1:
        title += f", {rows['seeds'].max()} seeds"
    unfound = rows.loc[rows["p_holm"] >= 0.05, "detectable"]
    if unfound.notna().any():
        drop = f"{100 * unfound.max():.0f} points"
        title += f"; a drop under {drop} would be missed more often than 1 in 5 by one test alone"
    return title


def _cells(row: pd.Series, several: bool) -> list[str]:
    change = p = ""
    if pd.notna(row["difference"]):
        value, low, high = (f"{100 * row[name]:+.1f}" for name in ("difference", "difference_low", "difference_high"))
        change = f"{value} [{low:>5}, {high:>5}]"
        p = p_cell(row["p_holm"])
    accuracy = f"{_percent(row['accuracy'])} [{_percent(row['low']):>4}, {_percent(row['high']):>5}]"
    rates = [_percent(row["truncated"]), _percent(row["no_answer"]), f"{row['response_tokens']:.0f}"]
    spread = [_percent(row["seed_sd"]) if row["seeds"] > 1 else ""] if several else []
    return [accuracy, *spread, *rates, change, p]


def change_cell(row: Mapping[Any, Any], name: str) -> str:
    """A change and its interval (columns `name`, `name`_low, `name`_high, shares) in points; "" where it is null."""
    if pd.isna(row[name]):
        return ""
    return f"{100 * row[name]:+.1f} [{100 * row[f'{name}_low']:+.1f}, {100 * row[f'{name}_high']:+.1f}]"


def p_cell(value: float) -> str:
    if pd.isna(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _row(mark: str, name: str, cells: list[str], first: int, widths: list[int]) -> str:
    padded = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([f"{mark:1} {name:<{first}}", *padded]).rstrip()


def _legend(table: pd.DataFrame) -> str:
    parts = [
        "accuracy: 95 % interval by Wilson (several seeds or samples: at the effective number of problems)",
        *(["sd: standard deviation of the accuracy over training seeds"] if _several(table) else []),
        "cut: answers ended by the token limit",
        "no answer: no final answer found in them",
        "tokens: mean length of an answer",
        "change: from untrained on the same problems, 95 % interval by bootstrap over problems",
        "p: exact McNemar test (several: sign-flip test), Holm-adjusted over the arms of a student and task",
        "floor: the best of chance and of answers made by rule",
    ]
    if table["at_floor"].any():
        parts.append(f"{AT_FLOOR} not above the floor (95 % interval of the paired difference; chance: of the score)")
    return "; ".join(parts) + "."
