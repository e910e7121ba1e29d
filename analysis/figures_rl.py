"""F10b: what reinforcement learning brings back, and how soon. The numbers are those of `offmodel.rl_progress`."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.layout import Margins, panels
from analysis.legends import LEGEND_LINE, legend_above, legend_lines
from analysis.load import NothingToDrawError, Results
from analysis.style import COLUMN_WIDTH, PAGE_WIDTH, RC, condition
from offmodel.rl_progress import RL, STARTS, reward_curves, rl_table

FORMAT = "format"
_ACCURACY, _SHIFT, _REWARD = "accuracy (%)", "style shift", "mean reward"
_COLUMNS = {_ACCURACY: ("accuracy", "low", "high"), _SHIFT: ("shift", "shift_low", "shift_high")}
_DODGE = 0.012  # of the axis: points of one update stand apart by this
_TALLEST = 7.0  # inches of a page that the rows of panels may take


def f10b_rl(results: Results) -> Figure:
    """Accuracy, and style shift where it was measured, against updates: a panel for each task, a line for each start
    and reward; below them the mean reward at each update. Rows for each student and teacher.

    Raises:
        NothingToDrawError: no student was reinforced, or one that was lacks one of its two starts.
    """
    if not (results.scores["arm"] == RL).any():
        raise NothingToDrawError("no student was reinforced (arm rl)")
    table = rl_table(results.items, results.scores, results.curves, results.style)
    for (student, after), rows in table.groupby(["student", "after"], sort=False):
        for arm in STARTS:
            if not (rows["arm"] == arm).any():
                raise NothingToDrawError(f"{student} has no arm {arm} (teacher {after}) to draw RL against")
    with mpl.rc_context(RC):
        return _f10b(table, reward_curves(results.curves))


def _f10b(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    pairs = [rows for _, rows in table.groupby(["student", "after"], sort=False)]
    columns = int(table["task"].nunique())
    kinds = [_ACCURACY] + [_SHIFT] * bool(table["shift_low"].notna().any()) + [_REWARD] * bool(len(curves))
    width = PAGE_WIDTH if columns > 1 else COLUMN_WIDTH
    legend = legend_lines(_keys(table), width - 0.2, 0.42)
    title, down = (0.28, 0.64) if len(pairs) > 1 else (0.16, 0.4)
    margins = Margins(left=0.55, right=0.1, top=0.06 + LEGEND_LINE * len(legend) + title, bottom=0.36, across=0.16,
                      down=down)  # fmt: skip
    rows = len(pairs) * len(kinds)
    height = max(0.8, min(1.35, (_TALLEST - (rows - 1) * margins.down) / rows))
    figure, axes = panels(rows, columns, width, height, margins, _caption(table, curves))
    for number, pair in enumerate(pairs):
        tasks = [task for _, task in pair.groupby("task", sort=False)]
        for place, kind in enumerate(kinds):
            first = (number * len(kinds) + place) * columns
            own = axes[first : first + columns]
            if kind == _REWARD:
                _rewards(own, _curves_of(curves, pair), _arms(table))
                continue
            for ax, task in zip(own, tasks, strict=False):
                _lines(ax, task, kind, _limits(pair, kind), leftmost=ax is own[0])
                if place == 0:
                    _name(ax, task.iloc[0], several=len(pairs) > 1)
            for ax in own[len(tasks) :]:
                ax.remove()
    legend_above(figure, legend, key_length=2.4)
    return figure


def _arms(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(start, reward) of each line; the control, which rewards the form alone, after the other."""
    known = table.loc[table["arm"] == RL, ["start", "reward"]].drop_duplicates().itertuples(index=False, name=None)
    return sorted(known, key=lambda arm: (STARTS.index(arm[0]), arm[1] == FORMAT, arm[1]))


def _line(start: str, reward: str, label: str = "") -> Line2D:
    """A start has its colour and marker; the control is hollow and dashed."""
    look = condition(start)
    dashes = (0, (3, 1.5)) if reward == FORMAT else "-"
    return Line2D([], [], color=look.colour, marker=look.marker, markersize=3.5, linewidth=0.9, linestyle=dashes,
                  markerfacecolor="white" if reward == FORMAT else look.colour, markeredgewidth=0.8, label=label,
                  gid=f"rl-{start}-{reward}")  # fmt: skip


def _keys(table: pd.DataFrame) -> list[Line2D]:
    words = {start: condition(start).label for start in STARTS}
    return [
        _line(start, reward, f"RL from {words[start]}, {'form rewarded' if reward == FORMAT else 'right answers'}")
        for start, reward in _arms(table)
    ]


def _limits(table: pd.DataFrame, kind: str) -> tuple[float, float]:
    """Of the y axis, the same for all tasks."""
    _, low, high = _COLUMNS[kind]
    if kind == _ACCURACY:
        return max(0.0, 100 * table[low].min() - 4), min(100.0, 100 * table[high].max() + 4)
    return min(-0.03, table[low].min() - 0.03), max(0.03, table[high].max() + 0.03)


def _lines(ax: Axes, rows: pd.DataFrame, kind: str, limits: tuple[float, float], leftmost: bool) -> None:
    value, low, high = _COLUMNS[kind]
    scale = 100.0 if kind == _ACCURACY else 1.0
    last = int(rows["updates"].max())
    ends = {arm: rows[rows["arm"] == arm].iloc[0] for arm in STARTS}
    for arm, row in ends.items():
        colour = condition(arm).colour
        if pd.notna(row[low]):
            ax.axhspan(scale * row[low], scale * row[high], color=colour, alpha=0.12, linewidth=0, zorder=-1,
                       gid=f"band-{arm}")  # fmt: skip
        ax.axhline(scale * row[value], color=colour, linewidth=0.6, linestyle=":", zorder=0, gid=f"reference-{arm}")
        ax.plot([0], [scale * row[value]], condition(arm).marker, color=colour, markersize=3.5, zorder=4)
    arms = _arms(rows)
    for number, (start, reward) in enumerate(arms):
        own = rows[(rows["arm"] == RL) & (rows["start"] == start) & (rows["reward"] == reward)].sort_values("updates")
        own = own[own[value].notna()]
        x = own["updates"] + last * _DODGE * (number - (len(arms) - 1) / 2)
        y, look = scale * own[value], _line(start, reward)
        path = {"color": look.get_color(), "linestyle": look.get_linestyle(), "linewidth": 0.9}
        ax.plot([0, *x], [scale * ends[start][value], *y], zorder=2, gid="path", **path)
        ax.vlines(x, scale * own[low], scale * own[high], colors=look.get_color(), linewidth=0.7, zorder=2)
        look.set(data=(x, y), linestyle="", zorder=3)
        ax.add_line(look)
    ticks = sorted({0, *rows["updates"]})
    ax.set(xlim=(-0.05 * last, 1.05 * last), ylim=limits)
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.tick_params(labelleft=leftmost)
    if leftmost:
        ax.set_ylabel(kind, labelpad=2)
    ax.set_xlabel("updates", labelpad=1)


def _name(ax: Axes, row: pd.Series, several: bool) -> None:
    title = f"{row['task_title']} (n = {row['n']})"
    ax.set_title(f"{title}\n{row['student']} taught by {row['after']}" if several else title, pad=4)


def _curves_of(curves: pd.DataFrame, pair: pd.DataFrame) -> pd.DataFrame:
    first = pair.iloc[0]
    same = (curves["experiment"] == first["experiment"]) & (curves["student"] == first["student"])
    return curves[same & (curves["after"] == first["after"])]


def _window(curves: pd.DataFrame) -> int:
    """Updates that the thick line is a mean of: a tenth of them."""
    return max(1, int(curves["step"].max()) // 10)


def _rewards(own: list[Axes], curves: pd.DataFrame, arms: list[tuple[str, str]]) -> None:
    """One panel as wide as those above: each update thin, its running mean thick."""
    ax = own[0]
    box, right = ax.get_position(), own[-1].get_position().x1
    ax.set_position((box.x0, box.y0, right - box.x0, box.height))
    for other in own[1:]:
        other.remove()
    for start, reward in arms:
        curve = curves[(curves["start"] == start) & (curves["reward"] == reward)].sort_values("step")
        if curve.empty:
            continue
        look, window = _line(start, reward), _window(curves)
        shape = {"color": look.get_color(), "linestyle": look.get_linestyle()}
        if window > 1:
            ax.plot(curve["step"], curve["mean_reward"], color=look.get_color(), linewidth=0.4, alpha=0.5, zorder=1)
        running = curve["mean_reward"].rolling(window, center=True, min_periods=1).mean()
        ax.plot(curve["step"], running, linewidth=1.0, zorder=2, gid=f"reward-{start}-{reward}", **shape)
    ax.set(xlabel="updates", ylim=(min(0.0, ax.get_ylim()[0]), ax.get_ylim()[1]))
    ax.set_xlim(0, 1.02 * curves["step"].max())
    ax.xaxis.labelpad = ax.yaxis.labelpad = 1
    ax.set_ylabel(_REWARD)


def _caption(table: pd.DataFrame, curves: pd.DataFrame) -> str:
    students, teachers, seeds = table["student"].unique(), table["after"].unique(), int(table["seeds"].max())
    who = f"Student {students[0]}" if len(students) == 1 else f"{len(students)} students"
    who += f", off-model SFT on answers of {teachers[0]}" if len(teachers) == 1 else f", {len(teachers)} teachers"
    parts = [f"{who}; {f'mean of {seeds} seeds' if seeds > 1 else 'one seed'}.",
             "GRPO rewarded for right answers (filled) or, as its control, for the form of one alone (hollow).",
             "Dotted: both students before RL; bands and bars: 95 % intervals, over problems."]  # fmt: skip
    if table["shift_low"].notna().any():
        parts += ["Style: probability that the teacher wrote the answers, change from untrained."]
    if len(curves):
        parts += ["Reward: mean over the answers sampled at an update"]
        parts[-1] += " and over seeds" * bool(curves["seeds"].max() > 1)
        window = _window(curves)
        parts[-1] += f" (thin), and over {window} updates (thick)." if window > 1 else "."
    return " ".join(parts)
