"""F6: has an arm lost accuracy where its answers took on another style? Drawn from the table of `offmodel.style`."""

import math
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.layout import CAPTION_SIZE, Margins, axes_width, panels, text_width
from analysis.legends import legend_lines
from analysis.load import NothingToDrawError
from analysis.style import BLACK, GREY, PAGE_WIDTH, RC, condition, details, in_order
from offmodel.results import UNTRAINED
from offmodel.style import accuracy_by_style, style_effects, style_parameters

_LABEL = RC["ytick.labelsize"]
_TALLEST = 7.4  # inches of a page that the panels may take
_LEGEND_LINE, _LEGEND_WIDTH = 0.155, 3.6  # inches
_COUNTS = {"home": 0.26, "foreign": 0.62}  # inches from the panel to the right edge of these numbers
_FEWEST = 10  # answers of one style, for a point that says something
# How a task's points are filled; colour and marker are the arm's.
_FILLS = ["full", "none", "left", "bottom", "right", "top"]


class _Places(NamedTuple):
    """Where the rows of the right panel stand: `rows` by group and label, `headings` by text; `last` is the lowest."""

    rows: dict[tuple[tuple[str, ...], str], float]
    headings: dict[str, float]
    last: float


def f6_style(style: pd.DataFrame | None, scores: pd.DataFrame | None = None) -> Figure:
    """Left: change of accuracy against style shift, a point for each trained arm, task and teacher compared with.
    Right: accuracy of each arm's answers judged home and foreign in style, and the untrained student's on the same
    problems.

    `style` is `offmodel.style.style_table`, with the column task_title or without. Tasks on which no untrained student
    of `scores` (`results.score_table`) is above its floor are left out, for nothing can be lost there.

    Raises:
        NothingToDrawError: the table has no trained arm.
    """
    if style is None or style.empty or (style["arm"] == UNTRAINED).all():
        raise NothingToDrawError("no arm was trained on another model's answers, so there is no style to compare with")
    style = style if "task_title" in style.columns else style.assign(task_title=style["task"])
    without = _nothing_to_lose(style, scores)
    with mpl.rc_context(RC):
        return _f6(style[~style["task_title"].isin(without)], without)


def _nothing_to_lose(style: pd.DataFrame, scores: pd.DataFrame | None) -> list[str]:
    if scores is None:
        return []
    untrained = scores[(scores["arm"] == UNTRAINED) & scores["task_title"].isin(style["task_title"])]
    at_floor = untrained.groupby("task_title", sort=False)["at_floor"].all()
    return [] if at_floor.all() else [str(title) for title in at_floor.index[at_floor]]


def _f6(style: pd.DataFrame, without: list[str]) -> Figure:
    effects, judged = (_labelled(table, style_parameters(style)) for table in (style_effects(style),
                                                                              accuracy_by_style(style)))  # fmt: skip
    places = _places(effects)
    fills = {task: _FILLS[i % len(_FILLS)] for i, task in enumerate(effects["task"].unique())}
    keys = [[_key(look.label, look.colour, look.marker) for look in map(condition, effects["arm"].unique())]]
    if len(fills) > 1:
        titles = effects.drop_duplicates("task")["task_title"]
        keys += [[_key(title, GREY, "o", fill) for title, fill in zip(titles, fills.values(), strict=True)]]
    lines = [line for same in keys for line in legend_lines(same, _LEGEND_WIDTH, 0.24)]
    room = 0.12 + max(text_width(text, _LABEL) for text in effects["label"])
    height = max(1.75, min(0.2, _TALLEST / (places.last + 1.2)) * (places.last + 1.2))
    margins = Margins(left=0.6, right=_COUNTS["foreign"] + 0.08, top=0.12 + _LEGEND_LINE * max(2, len(lines)),
                      bottom=0.4, across=room + 0.3)  # fmt: skip
    figure, (left, right) = panels(1, 2, PAGE_WIDTH, height, margins, _caption(style, effects, without))
    for number, line in enumerate(lines):
        _legend(figure, line, 0.3, number)
    _shifts(left, effects, fills)
    box = left.get_position()
    lowered = box.height * min(1.0, 3.0 / height)  # beside many rows the left panel keeps its shape
    left.set_position((box.x0, box.y1 - lowered, box.width, lowered))
    _rows(right, judged, places, room)
    names = [_key("home style", GREY, "o"), _key("foreign style", GREY, "x"), _key("untrained", BLACK, "|")]
    _legend(figure, names, PAGE_WIDTH * right.get_position().x0 - 0.1, 0)
    return figure


def _shifts(ax: Axes, effects: pd.DataFrame, fills: dict[str, str]) -> None:
    """The left panel. Untrained is where the dotted lines cross."""
    ax.axhline(0, color=BLACK, linewidth=0.6, linestyle=":", zorder=0)
    ax.axvline(0, color=BLACK, linewidth=0.6, linestyle=":", zorder=0)
    for _, row in effects.iterrows():
        look = condition(row["arm"])
        thin: dict[str, Any] = {"color": look.colour, "linewidth": 0.5, "zorder": 1}
        ax.plot([row["shift_low"], row["shift_high"]], [100 * row["change"]] * 2, **thin)
        ax.plot([row["shift"]] * 2, [100 * row["change_low"], 100 * row["change_high"]], **thin)
        point = _key("", look.colour, look.marker, fills[row["task"]])
        point.set(data=([row["shift"]], [100 * row["change"]]), gid=f"point-{row['arm']}", zorder=3)
        ax.add_line(point)
    ax.autoscale_view()
    ax.set(xlabel="style shift towards the teacher", ylabel="change from untrained (points)")


def _rows(ax: Axes, judged: pd.DataFrame, places: _Places, room: float) -> None:
    """The right panel: a row for each arm, home style above and foreign below; their numbers of problems beside."""
    across = ax.get_yaxis_transform()
    for _, row in judged.iterrows():
        home, look = row["judged"] == "home", condition(row["arm"])
        y = places.rows[_group(row), row["label"]] + (-0.18 if home else 0.18)
        x = 1 + _COUNTS[row["judged"]] / axes_width(ax)
        ax.text(x, y + (0.18 if home else -0.18), str(row["n"]), transform=across, ha="right", va="center_baseline",
                fontsize=CAPTION_SIZE, gid="n")  # fmt: skip
        if row["n"] >= _FEWEST:
            ax.plot([100 * row["low"], 100 * row["high"]], [y, y], color=look.colour, linewidth=0.7)
            ax.plot([100 * row["untrained"]], [y], "|", color=BLACK, markersize=4.5, markeredgewidth=0.9, gid="control")
            ax.plot([100 * row["accuracy"]], [y], "o" if home else "x", color=look.colour, markersize=3.5,
                    gid=f"{row['judged']}-{row['arm']}")  # fmt: skip
    for name, x in _COUNTS.items():
        ax.text(1 + x / axes_width(ax), -0.65, f"n {name}" if name == "home" else name, transform=across, ha="right",
                va="bottom", fontsize=CAPTION_SIZE, color=GREY)  # fmt: skip
    for text, y in places.headings.items():
        ax.text(-room / axes_width(ax), y, text, transform=across, va="center", fontsize=_LABEL, weight="bold")
    shown = judged.loc[judged["n"] >= _FEWEST, ["high", "untrained"]]
    ceiling = min(100, 10 * math.ceil(10 * shown.max().max())) if len(shown) else 100
    ax.set(xlim=(-0.02 * ceiling, ceiling), ylim=(places.last + 0.6, -0.6), xlabel="accuracy (%)")
    ax.set_yticks(list(places.rows.values()), [label for _, label in places.rows])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _labelled(table: pd.DataFrame, parameters: list[str]) -> pd.DataFrame:
    """The rows in order, with the `label` of the arm; the teacher is not in it, for the headings name the pair."""
    table = in_order(table)
    known = table[["arm", "student", "adapter", *parameters]].assign(teacher=None)
    words = [condition(arm).label for arm in table["arm"]]
    more = details(known, only_teacher_too=False)
    return table.assign(label=[f"{word}, {text}" if text else word for word, text in zip(words, more, strict=True)])


def _group(row: pd.Series) -> tuple[str, ...]:
    return row["task_title"], row["student"], row["compared_with"]


def _places(effects: pd.DataFrame) -> _Places:
    """Rows by task, then student and teacher, under a heading that says what differs between the groups."""
    labels: dict[tuple[str, ...], list[str]] = {}
    for _, row in effects.iterrows():
        labels.setdefault(_group(row), []).append(row["label"])
    differ = [len(set(part)) > 1 for part in zip(*labels, strict=True)]
    rows: dict[tuple[tuple[str, ...], str], float] = {}
    headings: dict[str, float] = {}
    y = -1.0
    for group, own in labels.items():
        task, student, teacher = group
        pair = ", ".join([student] * differ[1] + [f"teacher {teacher}"] * differ[2])
        text = ": ".join(part for part in [task if differ[0] else "", pair] if part)
        if text:
            y += 1.0 if y < 0 else 1.3
            headings[text] = y
        for label in own:
            y += 1
            rows[group, label] = y
    return _Places(rows, headings, y)


def _key(label: str, colour: str, marker: str, fill: str = "full") -> Line2D:
    """A single marker; with the fill "none" white inside, so that no line shows through."""
    point = Line2D([], [], linestyle="", label=label, color=colour, marker=marker, markeredgewidth=0.8)
    point.set_fillstyle("full" if fill == "none" else fill)  # type: ignore[arg-type]
    point.set(markerfacecolor="white" if fill == "none" else colour, markerfacecoloralt="white")
    return point


def _legend(figure: Figure, line: list[Line2D], x: float, number: int) -> None:
    """A line of keys, `x` inches from the left, the first of its lines at the top."""
    width, height = figure.get_size_inches()
    place = (x / width, 1 - (0.03 + _LEGEND_LINE * number) / height)
    figure.legend(handles=line, loc="upper left", bbox_to_anchor=place, ncols=len(line), borderaxespad=0, borderpad=0,
                  handletextpad=0.1, columnspacing=0.8)  # fmt: skip


def _caption(style: pd.DataFrame, effects: pd.DataFrame, without: list[str]) -> str:
    counts = effects.drop_duplicates("task")
    tasks = ", ".join(f"{title} (n = {n})" for title, n in zip(counts["task_title"], counts["n"], strict=True))
    students, teachers = effects["student"].unique(), effects["compared_with"].unique()
    who = f"Student {students[0]}" if len(students) == 1 else f"{len(students)} students"
    who += f", teacher {teachers[0]}" if len(teachers) == 1 else f", {len(teachers)} teachers"
    seeds = int(effects["seeds"].max())
    parts = [f"{tasks}. {who}; {f'mean of {seeds} seeds' if seeds > 1 else 'one seed'}.",
             "Style: probability that the teacher wrote the answer, not the untrained student, by a classifier of the",
             f"words in their answers to the chat prompts; {_accuracy(style)}.",
             "Left: mean changes from untrained on the same problems; 95 % intervals by bootstrap over problems.",
             ]  # fmt: skip
    if len(teachers) > 1:
        parts += ["An off-model arm is compared with its own teacher, any other with each."]
    parts += ["Right: an arm's answers of probability below one half (home style) and the others; Wilson intervals and",
              "numbers of problems n; ticks: the untrained student on those same problems; none where n is below",
              f"{_FEWEST}."]  # fmt: skip
    if without:
        parts += [f"Left out, for the untrained student is at its floor there: {', '.join(without)}."]
    return " ".join(parts)


def _accuracy(style: pd.DataFrame) -> str:
    """How good the classifiers are: the only one, or the range of several."""
    each = style.drop_duplicates(["student", "compared_with"])
    value, low, high = (100 * each[f"classifier_{name}"] for name in ("accuracy", "low", "high"))
    n = each["classifier_n"]
    if len(each) == 1:
        ends = f"[{low.iloc[0]:.0f}, {high.iloc[0]:.0f}]"
        return f"it is right on {value.iloc[0]:.0f} % {ends} of held-out ones (n = {n.iloc[0]})"
    worst = value.idxmin()
    return (
        f"the {len(each)} classifiers are right on {value.min():.0f} % [{low[worst]:.0f}, {high[worst]:.0f}] to "
        f"{value.max():.0f} % of held-out ones (n = {n.min()} or more)"
    )
