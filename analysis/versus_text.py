"""One arm against another in Markdown: in one experiment, and DFT against SFT wherever a preset tried both (T5)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.load import NothingToDrawError, Results, load_those
from analysis.style import condition
from analysis.tables import AT_FLOOR, change_cell, p_cell
from offmodel.math_training import SETTING, head_to_head
from offmodel.results import UNTRAINED, grouped, matching
from offmodel.statistics import holm

# Experiment, what is learned, DFT's arm and SFT's.
_DFT_AND_SFT = (
    ("16_dft", "solutions", "dft", "sft"),
    ("17_offline_rl", "own right answers", "offline_dft", "rft"),
    ("17_offline_rl", "solutions of the same problems", "solutions_dft", "solutions_sft"),
    ("01_degradation", "chat answers of {teacher}", "off_model_dft", "off_model_sft"),
    ("18_objectives", "chat answers of {teacher}", "off_model_dft", "off_model_sft"),
)
DFT_OR_SFT = tuple(dict.fromkeys(experiment for experiment, *_ in _DFT_AND_SFT))
_HEADS = ["learned", "student", "task", "setting", "untrained %", "SFT %", "DFT %", "DFT − SFT, points [95 %]", "p"]
_TRIES = ["in k tries, points [95 %]", "p"]
_LEGEND = (
    "Accuracy of single answers, greedy after chat answers, else the mean of k sampled at temperature 1 (avg@k); in k "
    "tries: the same difference in the share of the problems of which any of the k is right (pass@k), where k > 1. ~ "
    "not above the floor. Intervals by bootstrap over problems; p by exact McNemar or sign-flip test, uncorrected, and "
    "bold where it is below 0.05 after Holm's correction over this table."
)


def markdown_versus(results: Results, arm: str, against: str) -> str:
    """One objective against another as Markdown: a row for each setting that both were trained in, and one for the mean
    over the grid's.

    Raises:
        NothingToDrawError: the two have no setting in common.
    """
    table = head_to_head(results.items, arm, against)
    if table.empty:
        raise NothingToDrawError(f"'{arm}' and '{against}' have no setting in common")
    title = f"{condition(arm).label} − {condition(against).label}"
    heads = [f"{title}, avg@k, points [95 %]", "p", "pass@k, points [95 %]", "p"]
    lines = [f"| student | task | setting | {' | '.join(heads)} |", "|---|---|---|---:|---:|---:|---:|"]
    for row in table.to_dict("records"):
        cells = [row["student"], row["task_title"], _setting(row), *_differences(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def markdown_t5(folder: Path, loaded: Mapping[str, Results] | None = None) -> str:
    """DFT against SFT in all that a preset's results hold of both, with the legend below: a row for each kind of data,
    student, task and setting, at the end of the training.

    Those of experiments in `loaded` are not read, and scored, again.

    Raises:
        NothingToDrawError: nothing was learned with both.
    """
    known = load_those(folder, DFT_OR_SFT, loaded)
    rows: list[dict[Any, Any]] = []
    for experiment, learned, dft, sft in _DFT_AND_SFT:
        if experiment in known:
            rows += _at_the_end(known[experiment], learned, dft, sft)
    if not rows:
        raise NothingToDrawError("nothing was learned with both DFT and SFT")
    # At the preset's own rate 18 shows the trainings of 01 again, and names the rate.
    same = ["learned", "student", "task_title", UNTRAINED, "sft", "dft", "difference_low", "difference_high"]
    table = pd.DataFrame(rows).drop_duplicates(same, keep="last")
    table["p_holm"] = holm(table["p"])
    lines = [f"| {' | '.join([*_HEADS, *_TRIES])} |", "|---|---|---|---|" + "---:|" * (len(_HEADS) + len(_TRIES) - 4)]
    return "\n".join([*lines, *(_line(row) for row in table.to_dict("records")), "", _LEGEND])


def _at_the_end(results: Results, learned: str, dft: str, sft: str) -> Iterator[dict[Any, Any]]:
    scores = results.scores
    for (teacher,), made in grouped(results.items[results.items["arm"].isin([dft, sft])], ["teacher"]):
        table = head_to_head(made, dft, sft)
        last = table.groupby(["student", "task"])["step"].transform("max")
        ended = table["step"].isna() | table["step"].eq(last)
        for row in table[ended & table["settings"].eq(1)].to_dict("records"):
            where = {name: row[name] for name in SETTING if name in scores}
            own = matching(scores, {"student": row["student"], "task": row["task"]})
            row |= {UNTRAINED: _score(matching(own, {"arm": UNTRAINED})), "learned": learned.format(teacher=teacher)}
            for name, arm in (("dft", dft), ("sft", sft)):
                row[name] = _score(matching(own, {"arm": arm, "teacher": teacher} | where))
            row["several"] = made["sample"].nunique() > 1
            yield row


def _score(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    return f"{f'{AT_FLOOR} ' * bool(rows['at_floor'].iloc[0])}{100 * rows['accuracy'].iloc[0]:.1f}"


def _line(row: dict[Any, Any]) -> str:
    cells = [row["learned"], row["student"], row["task_title"], _setting(row), row[UNTRAINED], row["sft"], row["dft"]]
    difference, p, in_k_tries, p_in_k_tries = _differences(row)
    cells += [difference, f"**{p}**" if row["p_holm"] < 0.05 else p]
    cells += [in_k_tries, p_in_k_tries] if row["several"] else ["", ""]
    return f"| {' | '.join(cells)} |"


def _differences(row: dict[Any, Any]) -> list[str]:
    """Of avg@k with its p, and of pass@k with its p."""
    single = [change_cell(row, "difference"), p_cell(row["p"])]
    return [*single, change_cell(row, "pass_difference"), p_cell(row["pass_p"])]


def _setting(row: dict[Any, Any]) -> str:
    if row["settings"] > 1:
        return f"mean of the {row['settings']} of the grid"
    if pd.notna(row["step"]):
        return f"step {row['step']:.0f}"
    if pd.notna(row["batch_size"]):
        return f"rate {row['learning_rate']:g}, batches of {row['batch_size']:.0f}"
    return f"rate {row['learning_rate']:g}" if pd.notna(row["learning_rate"]) else "the preset's"
