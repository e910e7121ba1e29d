"""One function per figure: results in, a matplotlib figure out. The numbers are those of `offmodel.results`."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures_dft import f12_convergence, f13_probabilities
from analysis.figures_inoculation import f9b_inoculation
from analysis.figures_objectives import f14_objectives
from analysis.figures_recovery import f7_repair, f7b_style, f8_prefill
from analysis.figures_rl import f10b_rl
from analysis.figures_samples import f10a_best_of_n
from analysis.figures_style import f6_style
from analysis.layout import CAPTION_SIZE, Margins, axes_width, panels, spread, text_width
from analysis.load import NothingToDrawError, Results
from analysis.style import BLACK, COLUMN_WIDTH, GREY, PAGE_WIDTH, RC, condition, details, in_order
from offmodel.results import ARM_KEYS, UNTRAINED, is_floor, level_table, matching, parameters

SIGNIFICANT = 0.05
_CHANGES = 0.34  # inches from a panel to the right edge of its changes
_FEWEST = 5  # problems of a level, for a point that says something
_LABEL = RC["ytick.labelsize"]


def _styled(draw: Callable[[Results], Figure]) -> Callable[[Results], Figure]:
    """Draw under the rc settings of `style`, without changing those of the caller."""

    @wraps(draw)
    def styled(results: Results) -> Figure:
        with mpl.rc_context(RC):
            return draw(results)

    return styled


@_styled
def f1_degradation(results: Results) -> Figure:
    """Accuracy of each student before and after training: a panel per task, a row per arm, with its interval and n.

    Small ticks are the single seeds. Beside each row stands its paired change from untrained, in points.
    """
    table = _with_places(results.scores)
    tasks = table.drop_duplicates("task")
    labels = table.drop_duplicates("y").set_index("y")["label"]
    first = table.groupby("student", sort=False)["y"].min()
    students = {y - 1: str(name) for name, y in first.items()} if len(first) > 1 else {}
    left = 0.14 + max(text_width(text, _LABEL, "bold") for text in [*labels, *students.values()])
    last = float(table["y"].max())
    width = COLUMN_WIDTH if len(tasks) == 1 else PAGE_WIDTH
    titles = [f"{task['task_title']} (n = {task['n']})" for _, task in tasks.iterrows()]
    if max(text_width(text, RC["axes.titlesize"]) for text in titles) > (width - left) / len(titles) - 0.2:
        titles = [text.replace(" (n", "\n(n") for text in titles]
    top = 0.3 + 0.12 * titles[0].count("\n")
    margins = Margins(left=left, right=_CHANGES + 0.08, top=top, bottom=0.4, across=_CHANGES + 0.16)
    figure, axes = panels(1, len(tasks), width, 0.165 * (last + 1.2), margins, _f1_caption(table))
    ceiling = min(100, 10 * math.ceil(10 * table["high"].max()))
    for ax, task, title in zip(axes, tasks["task"], titles, strict=True):
        rows = table[table["task"] == task]
        for number, (_, own) in enumerate(rows.groupby("student", sort=False)):
            _references(ax, own, named=number == 0)
        for _, row in rows.iterrows():
            _interval(ax, row)
            _seeds(ax, row, results.items)
        ax.set(xlim=(0, ceiling), ylim=(last + 0.6, -0.6), xlabel="accuracy (%)")
        ax.set_title(title, pad=8)
        ax.set_yticks(labels.index.to_list(), labels.to_list())
        ax.tick_params(axis="y", length=0, labelleft=ax is axes[0])
        ax.spines["left"].set_visible(False)
    for y, name in students.items():
        axes[0].text(-0.05 / axes_width(axes[0]), y, name, transform=axes[0].get_yaxis_transform(), ha="right",
                     va="center", fontsize=_LABEL, weight="bold")  # fmt: skip
    return figure


@_styled
def f2_by_level(results: Results) -> Figure:
    """Paired change from untrained by difficulty level: a panel per task, student and teacher, a line per arm.

    Raises:
        NothingToDrawError: no task has levels that are numbers.
    """
    table = level_table(results.items)
    table["level"] = pd.to_numeric(table["level"], errors="coerce")
    table = table[table["level"].notna() & table.groupby("task")["level"].transform("nunique").gt(1)]
    few = table[table["n"] < _FEWEST].drop_duplicates(["task", "level"])
    table = in_order(table[table["n"] >= _FEWEST])
    trained = table[table["difference"].notna()]
    if trained.empty:
        raise NothingToDrawError("no task with numbered difficulty levels has both an untrained and a trained arm")
    off_model = trained[trained["teacher"] != trained["student"]]
    pairs = (off_model if len(off_model) else trained).drop_duplicates(["task", "student", "teacher"])
    several = len(pairs) > 1
    per_student = int(pairs.groupby(["task", "student"]).size().max())
    columns = per_student if 1 < per_student <= 3 else min(3, len(pairs))
    room = max(text_width(text, _LABEL) for text in _labels(trained))
    margins = Margins(left=0.68, right=0.1 if several else room + 0.15, top=0.5 if several else 0.1, bottom=0.52,
                      across=0.18, down=0.66)  # fmt: skip
    width = PAGE_WIDTH if several else COLUMN_WIDTH
    caption = _f2_caption(trained, int(few["n"].sum()))
    figure, axes = panels(math.ceil(len(pairs) / columns), columns, width, 1.45, margins, caption)
    limits = 100 * min(trained["difference_low"].min(), 0) - 4, 100 * max(trained["difference_high"].max(), 0) + 4
    handles: dict[str, Any] = {}
    for number, (ax, (_, pair)) in enumerate(zip(axes, pairs.iterrows(), strict=False)):
        same = table[(table["task"] == pair["task"]) & (table["student"] == pair["student"])]
        lines = same[same["difference"].notna() & same["teacher"].isin([pair["teacher"], pair["student"]])]
        ax.set_ylim(limits)
        _unreachable(ax, same[same["arm"] == UNTRAINED])
        ends = _level_lines(ax, lines, handles)
        counts = lines.drop_duplicates("level").set_index("level")["n"].sort_index()
        ax.set_xlim(counts.index[0] - 0.45, counts.index[-1] + 0.45)
        ax.set_xticks(counts.index.to_list(), [f"{level:g}\n({n})" for level, n in counts.items()])
        ax.tick_params(labelleft=number % columns == 0)
        if number % columns == 0:
            ax.set_ylabel("change from\nuntrained (points)")
        if number + columns >= len(pairs):
            ax.set_xlabel("difficulty level (problems)")
        if several:
            ax.set_title(f"{pair['task_title']}: {pair['student']}\ntaught by {pair['teacher']}", pad=3)
        else:
            _label_ends(ax, ends)
    for ax in axes[len(pairs) :]:
        ax.remove()
    if several:
        figure.legend(list(handles.values()), list(handles), loc="upper center", ncols=len(handles), borderaxespad=0.1)
    return figure


# Figure id: (experiment that it shows, function that draws it)
FIGURES: dict[str, tuple[str, Callable[[Results], Figure]]] = {
    "F0": ("00_learning_rate", f14_objectives),  # rates stand where objectives do
    "F1": ("01_degradation", f1_degradation),
    "F2": ("01_degradation", f2_by_level),
    "F6": ("01_degradation", lambda results: f6_style(results.style, results.scores)),
    "F7": ("06_on_model_repair", f7_repair),
    "F7b": ("06_on_model_repair", f7b_style),
    "F8": ("07_prefill", f8_prefill),
    "F9b": ("10_inoculation", f9b_inoculation),
    "F10a": ("11_best_of_n", f10a_best_of_n),
    "F10b": ("12_rl", f10b_rl),
    "F12": ("16_dft", f12_convergence),
    "F13": ("16_dft", f13_probabilities),
    "F13b": ("17_offline_rl", f13_probabilities),
    "F14": ("18_objectives", f14_objectives),
}


def _labels(table: pd.DataFrame) -> list[str]:
    more = details(table, only_teacher_too=False)
    words = [condition(arm).label for arm in table["arm"]]
    return [f"{word}, {text}" if text else word for word, text in zip(words, more, strict=True)]


def _with_places(scores: pd.DataFrame) -> pd.DataFrame:
    """The arms without the floors, in order, with the `label` and the place `y` of the row that each has."""
    table = in_order(scores[~scores["arm"].map(is_floor)])
    table["label"] = _labels(table)
    arms = in_order(table.drop_duplicates(["student", "label"]).assign(task=""))
    several = arms["student"].nunique() > 1
    places: dict[tuple[str, str], float] = {}
    y, before = -1.0, None
    for student, label in zip(arms["student"], arms["label"], strict=True):
        if student != before and several:
            y += 1.0 if before is None else 1.4  # a row for the student's name
        before, y = student, y + 1
        places[student, label] = y
    table["y"] = [places[key] for key in zip(table["student"], table["label"], strict=True)]
    return table


def _interval(ax: Axes, row: pd.Series) -> None:
    """One arm: a point with its interval, hollow at the floor, and its paired change at the right edge."""
    look = condition(row["arm"])
    ax.plot([100 * row["low"], 100 * row["high"]], [row["y"]] * 2, color=look.colour, solid_capstyle="butt")
    filled = "white" if row["at_floor"] else look.colour
    ax.plot([100 * row["accuracy"]], [row["y"]], look.marker, color=look.colour, markerfacecolor=filled,
            markeredgewidth=0.8, clip_on=False, gid=f"point-{row['arm']}")  # fmt: skip
    if pd.notna(row["difference"]):
        look_of_text: dict[str, Any] = {"weight": "bold"} if row["p_holm"] < SIGNIFICANT else {"color": GREY}
        _at_right_edge(ax, row["y"], _signed(100 * row["difference"]), **look_of_text)


def _at_right_edge(ax: Axes, y: float, text: str, **look: Any) -> None:
    x = 1 + _CHANGES / axes_width(ax)
    ax.text(x, y, text, transform=ax.get_yaxis_transform(), ha="right", va="center_baseline",
            fontsize=CAPTION_SIZE, gid="change", **look)  # fmt: skip


def _seeds(ax: Axes, row: pd.Series, items: pd.DataFrame) -> None:
    """A small tick below the interval for each seed, where there are several."""
    if row["seeds"] < 2:
        return
    own = matching(items, {name: row[name] for name in [*ARM_KEYS, *parameters(items), "task"]})
    by_seed = 100 * own.groupby("seed")["correct"].mean()
    ax.plot(by_seed, [row["y"] + 0.3] * len(by_seed), "|", color=condition(row["arm"]).colour, markersize=3,
            markeredgewidth=0.7, gid="seeds")  # fmt: skip


def _references(ax: Axes, rows: pd.DataFrame, named: bool) -> None:
    """Down the rows of one student: a dotted line at its untrained accuracy, a thin grey one at the floor."""
    top, bottom = rows["y"].min() - 0.5, rows["y"].max() + 0.5
    untrained = rows[rows["arm"] == UNTRAINED]
    ax.vlines(100 * untrained["accuracy"], top, bottom, colors=BLACK, linewidth=0.6, linestyles=":", zorder=0)
    for y in untrained["y"]:  # heads the column of changes, of which the untrained student has none
        _at_right_edge(ax, y, "Δ", color=GREY)
    floor = rows[rows["floor"].notna()].head(1)
    ax.vlines(100 * floor["floor"], top, bottom, colors=GREY, linewidth=0.6, zorder=0, gid="floor")
    for x, arm in zip(100 * floor["floor"], floor["floor_arm"], strict=True):
        if named:
            ax.text(x, top - 0.05, "chance" if arm == "chance" else "floor", ha="center", va="bottom", color=GREY,
                    fontsize=CAPTION_SIZE - 0.5)  # fmt: skip


def _level_lines(ax: Axes, table: pd.DataFrame, handles: dict[str, Any]) -> list[tuple[float, str, str]]:
    """A line with intervals for each arm, added to `handles`; (last value, label, colour) for labels at the ends."""
    ax.axhline(0, color=BLACK, linewidth=0.6, linestyle=":", zorder=0)
    ends = []
    arms = list(table.assign(label=_labels(table)).groupby("label", sort=False))
    for number, (label, rows) in enumerate(arms):
        look = condition(rows["arm"].iloc[0])
        rows = rows.sort_values("level")
        # Arms stand a little apart, so that no interval hides another.
        x = rows["level"] + 0.13 * (number - (len(arms) - 1) / 2)
        value = 100 * rows["difference"]
        reach = [value - 100 * rows["difference_low"], 100 * rows["difference_high"] - value]
        handles[str(label)] = ax.errorbar(x, value, yerr=reach, color=look.colour, marker=look.marker, elinewidth=0.7)
        ends.append((float(value.iloc[-1]), str(label), look.colour))
    return ends


def _unreachable(ax: Axes, untrained: pd.DataFrame) -> None:
    """Grey where no change can reach, since nothing is left of the untrained accuracy."""
    rows = untrained.sort_values("level")
    x, left = rows["level"].to_list(), (-100 * rows["accuracy"]).to_list()
    x, left = [x[0] - 0.45, *x, x[-1] + 0.45], [left[0], *left, left[-1]]
    ax.fill_between(x, left, min(ax.get_ylim()[0], *left), color="#EDEDED", linewidth=0, zorder=-1)


def _label_ends(ax: Axes, ends: list[tuple[float, str, str]]) -> None:
    """The arms' names at the right end of their lines, kept apart, in place of a legend."""
    low, high = ax.get_ylim()
    gap = (high - low) * 0.085
    for (_, label, colour), y in zip(ends, spread([value for value, _, _ in ends], gap), strict=True):
        ax.text(1.02, y, label, transform=ax.get_yaxis_transform(), color=colour, fontsize=_LABEL, va="center")


def _signed(points: float) -> str:
    text = f"{points:+.1f}".replace("-", "−")
    return "0" if text in ("+0.0", "−0.0") else text


def _who(table: pd.DataFrame) -> str:
    """ "student X, teacher Y" as far as there is only one of each."""
    off_model = table[table["teacher"].notna() & (table["teacher"] != table["student"])]
    students, teachers = table["student"].unique(), off_model["teacher"].unique()
    who = [f"Student {students[0]}" if len(students) == 1 else f"{len(students)} students"]
    who += [f"teacher {teachers[0]}"] if len(teachers) == 1 else [f"{len(teachers)} teachers"] if len(teachers) else []
    return ", ".join(who)


def _seeds_said(table: pd.DataFrame) -> str:
    """Over how many seeds a mean is, and of which tasks there are fewer."""
    by_task = table.groupby("task_title", sort=False)["seeds"].max()
    most = by_task.max()
    if most == 1:
        return "one seed"
    fewer = [f"{title} {seeds}" for title, seeds in by_task.items() if seeds < most]
    return f"mean of {most} seeds" + (f", of {', '.join(fewer)}" if fewer else "")


def _f1_caption(table: pd.DataFrame) -> str:
    seeds = int(table["seeds"].max())
    teachers = table.loc[table["teacher"] != table["student"], "teacher"].nunique()
    named = " (named beside each arm)" if teachers > 1 else ""
    parts = [f"{_who(table)}{named}, before and after training on answers to chat prompts."]
    if seeds > 1:
        parts += [f"Points: {_seeds_said(table)} (small ticks; untrained: one run);"]
        parts += ["bars: 95 % intervals over problems (Wilson)."]
    else:
        parts += ["Bars: 95 % Wilson intervals; one seed."]
    parts += ["Dotted line: untrained."]
    if table["floor"].notna().any():
        parts += ["Grey line: floor, the best of chance and of answers made by rule."]
    if table["at_floor"].any():
        parts += ["Hollow: not above the floor."]
    if table["difference"].notna().any():
        parts += ["Δ: change from untrained in points, paired by problem; bold: p < 0.05",
                  f"({'sign-flip' if seeds > 1 else 'McNemar'} test, Holm-adjusted)."]  # fmt: skip
    return " ".join(parts)


def _f2_caption(trained: pd.DataFrame, left_out: int) -> str:
    first = trained.drop_duplicates(["task_title", "level"])
    counts = [f"{title} (n = {n})" for title, n in first.groupby("task_title", sort=False)["n"].sum().items()]
    return (
        f"{', '.join(counts)} by difficulty. {_who(trained)}; "
        f"{_seeds_said(trained)}. Change is paired by problem; "
        "bars: 95 % intervals (Bonett–Price). Grey: below an accuracy of zero."
        f"{f' Levels of fewer than {_FEWEST} problems ({left_out} in all) are left out.' if left_out else ''}"
    )
