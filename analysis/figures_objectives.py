"""F14: what each objective keeps of the student against what it learns of the teacher.

The numbers are those of `offmodel.objectives_compared`.
"""

import math
from itertools import cycle
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.layout import Margins, panels
from analysis.legends import LEGEND_LINE, legend_above, legend_lines
from analysis.load import NothingToDrawError, Results
from analysis.style import BLACK, COLUMN_WIDTH, PAGE_WIDTH, RC, YELLOW, condition
from offmodel.objectives_compared import NLL, STYLE, objective_table
from offmodel.results import UNTRAINED

_AXES = {NLL: "fall in NLL (nats/token)", STYLE: "style shift to the teacher"}
_FILLS = ["bottom", "full", "left", "top"]  # of mixtures, by their share of own answers
_SMALLEST, _LARGEST = 2.8, 5.0  # points: markers grow with the learning rate
_RINGED = 0.2  # share of resamples on the front from which a point has a ring
_FRONT, _BELOW = "#444444", "#EDEDED"
_TALLEST = 7.0  # inches of a page that the rows of panels may take
_Look = tuple[str, float | None]  # arm and share of own answers: what has a colour, a marker and a line of its own


def f14_objectives(results: Results) -> Figure:
    """Change of accuracy against uptake of the teacher, a point with both intervals for each objective and learning
    rate; the untrained student is the origin. A panel for each task; a row of them for each measure of uptake, student
    and teacher.

    Raises:
        NothingToDrawError: no student was taught by another model, or nothing says what was learned of it.
    """
    scores = results.scores
    if not (scores["teacher"].notna() & (scores["teacher"] != scores["student"])).any():
        raise NothingToDrawError("no student was trained on another model's answers")
    table = objective_table(results.items, scores, results.likelihoods, results.style)
    if not table.loc[table["arm"] != UNTRAINED, "uptake"].notna().any():
        raise NothingToDrawError("nothing says how much of the teacher was learned: neither its held-out answers were "
                                 "read (likelihoods.parquet) nor was style measured (style.parquet)")  # fmt: skip
    with mpl.rc_context(RC):
        return _f14(table)


def _f14(table: pd.DataFrame) -> Figure:
    looks = _looks(table)
    blocks = [rows for _, rows in table.groupby(["student", "after", "measure"], sort=False)]
    several = table.groupby(["student", "after"]).ngroups > 1
    columns = min(3, int(table["task"].nunique()))
    deep = [math.ceil(block["task"].nunique() / columns) for block in blocks]
    width = PAGE_WIDTH if columns > 1 else COLUMN_WIDTH
    keys = [_key(look, table, _SMALLEST + 1) for look in looks]
    legend = legend_lines(keys, width - 0.2, 0.28)
    title = 0.28 if several else 0.16
    margins = Margins(left=0.62, right=0.1, top=0.06 + LEGEND_LINE * len(legend) + title, bottom=0.36, across=0.14,
                      down=0.38 + title)  # fmt: skip
    height = max(0.9, min(1.75, (_TALLEST - (sum(deep) - 1) * margins.down) / sum(deep)))
    ends = 100 * table[["change", "change_low", "change_high"]]
    limits = min(ends.min().min(), 0) - 3, max(ends.max().max(), 0) + 3
    figure, axes = panels(sum(deep), columns, width, height, margins, _caption(table, limits[0]))
    first = 0
    for block, rows in zip(blocks, deep, strict=True):
        own = axes[first * columns : (first + rows) * columns]
        groups = [group for _, group in block.groupby("task", sort=False)]
        for number, (ax, group) in enumerate(zip(own, groups, strict=False)):
            ax.set(xlim=_reach(table[table["measure"] == group["measure"].iloc[0]]), ylim=limits)
            _panel(ax, group, looks, _sizes(table))
            _name(ax, group.iloc[0], several, leftmost=number % columns == 0)
        for ax in own[len(groups) :]:
            ax.remove()
        first += rows
    legend_above(figure, legend, key_length=1.2)
    return figure


def _looks(table: pd.DataFrame) -> list[_Look]:
    """In the order of the conditions; mixtures by their share."""
    found = table[["arm", "on_model_share"]].drop_duplicates()
    pairs = [(arm, None if pd.isna(share) else float(share)) for arm, share in found.itertuples(index=False)]
    return sorted(pairs, key=lambda look: (condition(look[0]).order, look[1] or 0.0))


def _rows_of(table: pd.DataFrame, look: _Look) -> pd.DataFrame:
    arm, share = look
    same = table["on_model_share"].isna() if share is None else table["on_model_share"] == share
    return table[(table["arm"] == arm) & same & table["uptake"].notna()].sort_values("learning_rate")


def _sizes(table: pd.DataFrame) -> dict[float, float]:
    """Size of a marker by learning rate, in points."""
    rates = sorted(table["learning_rate"].dropna().unique())
    step = (_LARGEST - _SMALLEST) / max(1, len(rates) - 1)
    return {rate: _SMALLEST + step * number if len(rates) > 1 else 4.0 for number, rate in enumerate(rates)}


def _reach(table: pd.DataFrame) -> tuple[float, float]:
    """Of the axis of uptake. A training that ran away has unlearned far more than others learn: it is cut off there."""
    known = table[["uptake", "uptake_low", "uptake_high"]]
    high = max(float(known.max().max()), 0.01)
    low = max(float(known.min().min()), -0.8 * high)
    return min(low, 0.0) - 0.06 * (high - low), high + 0.06 * (high - low)


def _floor(untrained: pd.Series) -> float:
    """The change, in points, that leaves no more than the floor, or nothing."""
    return 100 * ((untrained["floor"] if pd.notna(untrained["floor"]) else 0.0) - untrained["accuracy"])


def _ink(colour: str) -> str:
    """Of lines: yellow ones are too faint on white, and are darker than their marker."""
    return "#B3A613" if colour == YELLOW else colour


def _panel(ax: Axes, rows: pd.DataFrame, looks: list[_Look], sizes: dict[float, float]) -> None:
    left, bottom = ax.get_xlim()[0], ax.get_ylim()[0]
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.axhline(0, color=BLACK, linewidth=0.6, linestyle=":", zorder=0)
    ax.axvline(0, color=BLACK, linewidth=0.6, linestyle=":", zorder=0)
    untrained = rows[rows["arm"] == UNTRAINED].iloc[0]
    if (floor := _floor(untrained)) > bottom:
        ax.axhspan(bottom, floor, color=_BELOW, linewidth=0, zorder=-1, gid="floor")
    front = rows[rows["on_front"].eq(True)].sort_values("uptake")
    x, y = front["uptake"].to_list(), (100 * front["change"]).to_list()
    ax.plot([left, *x, x[-1]], [y[0], *y, bottom], drawstyle="steps-pre", color=_FRONT, linewidth=0.8,
            linestyle="--", zorder=1, gid="front")  # fmt: skip
    for look in looks:
        own = _rows_of(rows, look)
        colour = _ink(condition(look[0]).colour)
        if len(own) > 1:
            ax.plot(own["uptake"], 100 * own["change"], color=colour, linewidth=0.6, alpha=0.8, zorder=2, gid="path")
        for _, row in own.iterrows():
            seldom = row["front_share"] < _RINGED
            thin: dict[str, Any] = {"color": colour, "linewidth": 0.5, "alpha": 0.2 if seldom else 0.8, "zorder": 1.5}
            x_at, y_at = row["uptake"], 100 * row["change"]
            ax.plot([row["uptake_low"], row["uptake_high"]], [y_at] * 2, gid="interval", **thin)
            ax.plot([x_at] * 2, [100 * row["change_low"], 100 * row["change_high"]], gid="interval", **thin)
            point = _key(look, rows, sizes.get(row["learning_rate"], 4.0))
            point.set(data=([x_at], [y_at]), gid=f"point-{look[0]}", zorder=4 if row["on_front"] else 3)
            if not seldom:  # never so light that the point seems smaller
                point.set(markeredgecolor=str(round(0.65 * (1 - row["front_share"]), 2)), markeredgewidth=0.9)
            ax.add_line(point)
            if x_at < left:
                ax.plot([left], [y_at], "<", color=colour, markersize=3.5, clip_on=False, gid="cut")


def _name(ax: Axes, row: pd.Series, several: bool, leftmost: bool) -> None:
    title = f"{row['task_title']} (n = {row['n']})"
    ax.set_title(f"{title}\n{row['student']} taught by {row['after']}" if several else title, pad=4)
    ax.set_xlabel(_AXES[row["measure"]], labelpad=2)
    ax.tick_params(labelleft=leftmost)
    if leftmost:
        ax.set_ylabel("change from\nuntrained (points)", labelpad=2)


def _key(look: _Look, table: pd.DataFrame, size: float) -> Line2D:
    """The marker of an objective, or of a mixture."""
    arm, share = look
    known = condition(arm)
    label, fill = known.label.removeprefix("off-model").lstrip(", "), "full"
    if share is not None:
        shares = sorted(table["on_model_share"].dropna().unique())
        fill = dict(zip(shares, cycle(_FILLS), strict=False))[share]
        label = f"{label}, {100 * share:.0f} %"
    point = Line2D([], [], linestyle="", label=label, color=known.colour, marker=known.marker, markersize=size)
    point.set_fillstyle(fill)  # type: ignore[arg-type]
    point.set(markerfacecoloralt="white", markeredgecolor=_ink(known.colour), markeredgewidth=0.5)
    return point


def _caption(table: pd.DataFrame, limit: float) -> str:
    students, teachers, seeds = table["student"].unique(), table["after"].unique(), int(table["seeds"].max())
    who = f"Student {students[0]}" if len(students) == 1 else f"{len(students)} students"
    who += f", teacher {teachers[0]}" if len(teachers) == 1 else f", {len(teachers)} teachers"
    parts = [f"{who}; {f'mean of {seeds} seeds' if seeds > 1 else 'one seed'}.",
             "Up: accuracy kept; right: more learned of the teacher, whose answers all but the untrained student and",
             "on-model SFT were trained on."]  # fmt: skip
    read = table[table["measure"] == NLL]
    if len(read):
        parts += [f"NLL: of the teacher's answers to {int(read['uptake_n'].max())} prompts that no student was trained",
                  "on, from the untrained student's; the same in every panel."]  # fmt: skip
    if (table["measure"] == STYLE).any():
        parts += ["Style: probability that the teacher wrote the answers to the task, change from untrained."]
    if table["on_model_share"].notna().any():
        parts += ["Mixed: the share of prompts that the student answered itself; as many steps, not as many tokens."]
    parts += ["Intervals: 95 %, by bootstrap over problems and prompts."]
    rates = [f"{rate:g}" for rate in sorted(table["learning_rate"].dropna().unique())]
    if len(rates) > 1:
        parts += [f"Markers grow with the learning rate ({', '.join(rates)}), joined by a line."]
    elif rates:
        parts += [f"Learning rate {rates[0]}."]
    parts += ["Dashed: Pareto front; the darker a ring, the more often its point is on the front of a resample",
              f"(from {100 * _RINGED:.0f} %); of all others the intervals are faint."]  # fmt: skip
    if any(_floor(row) > limit for _, row in table[table["arm"] == UNTRAINED].iterrows()):
        parts += ["Grey: below the floor."]
    if any((rows["uptake"] < _reach(rows)[0]).any() for _, rows in table.groupby("measure")):
        parts += ["Carets: further to the left."]
    return " ".join(parts)
