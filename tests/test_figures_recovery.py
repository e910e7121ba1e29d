"""F7, F8, F9b and F10a against the tables that they show. The items are invented; see fixture_recovery."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fixture_recovery import Made, made_up_inoculations, made_up_prefills, made_up_repairs, made_up_samples
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis import style
from analysis.figures import FIGURES
from analysis.load import NothingToDrawError, Results, load
from analysis.make_all import draw
from offmodel import statistics
from offmodel.best_of_n import best_of_n_table
from offmodel.guessing import guess_table
from offmodel.inoculation import inoculation_table
from offmodel.recovery import REPAIRS, prefill_table, repair_table
from offmodel.results import score_table, write_results

PLAIN = Made(tasks=["gsm8k", "ifeval"], n=24)
WIDE = Made(["qwen2.5-coder-0.5b", "llama-3.2-1b"], ["smollm2-135m", "gemma3-270m"], [0, 1],
            ["gsm8k", "ifeval", "math500"], n=12)  # fmt: skip
ALONE = Made(tasks=["gsm8k"], n=24)


def results_of(name: str, made: Made) -> Results:
    items, more = {
        "F7": lambda: (made_up_repairs(made), {}),
        "F7b": lambda: _with((items := made_up_repairs(made), _leaning(items)), "style"),
        "F8": lambda: (made_up_prefills(made), {}),
        "F9b": lambda: _with(made_up_inoculations(made), "likelihoods"),
        "F10a": lambda: _with(made_up_samples(made, samples=4), "answers"),
    }[name]()
    return Results(items, score_table(items), **more)


def _with(both: tuple[pd.DataFrame, pd.DataFrame], name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    return both[0], {name: both[1]}


def _leaning(items: pd.DataFrame) -> pd.DataFrame:
    """A style table: answers are foreign in the share in which the arm's are wrong, and compared with the damage's."""
    after = items["after"].where(items["after"].notna(), items["teacher"])
    parts = []
    for (student, teacher), _ in items.assign(foreign=after).dropna(subset="foreign").groupby(["student", "foreign"]):
        own = items[(items["student"] == student) & (items["arm"].eq("untrained") | (after == teacher))]
        wrong = 1 - own.groupby("model_id")["correct"].transform("mean").astype(float)
        parts.append(own.assign(compared_with=str(teacher), teacher_probability=wrong))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """A figure and its table start from the same random numbers, so that a few of them tell whether the two agree."""
    whole = statistics._resampled_means
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_resampled_means", lambda columns, rng, resamples: whole(columns, rng, 400))
        yield


@pytest.fixture(scope="module")
def drawn() -> Callable[[str, Made], tuple[Results, Figure]]:
    made: dict[tuple[str, int], tuple[Results, Figure]] = {}

    def of(name: str, size: Made) -> tuple[Results, Figure]:
        if (name, id(size)) not in made:
            results = results_of(name, size)
            made[name, id(size)] = results, FIGURES[name][1](results)
        return made[name, id(size)]

    return of


def panels(figure: Figure) -> dict[str, Any]:
    return {ax.get_title().replace("\n", " "): ax for ax in figure.axes}


def values(ax: Any) -> dict[str, list[float]]:
    """By label, the heights of the points that have intervals."""
    found = {}
    for container in ax.containers:
        found[container.get_label()] = list(container.lines[0].get_ydata())
    return found


def caption(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts if text.get_gid() == "caption")


def marked(ax: Any, gid: str) -> list[Any]:
    return [one for one in [*ax.lines, *ax.texts, *ax.patches, *ax.collections] if one.get_gid() == gid]


def test_f7_shows_fractions_and_where_there_are_none_accuracies(drawn):
    results, figure = drawn("F7", PLAIN)
    table = repair_table(results.items)
    for task, column, scale in [("GSM8K", "fraction", 1), ("IFEval", "accuracy", 100)]:
        ax = panels(figure)[f"{task} (n = 24)"]
        rows = table[table["task_title"] == task]
        assert rows["fraction"].notna().all() == (column == "fraction")
        shown = values(ax)
        assert len(shown) == len(REPAIRS)
        for arm in REPAIRS:
            wanted = scale * rows.loc[rows["arm"] == arm, column]
            assert shown[style.condition(arm).label] == pytest.approx(list(wanted))
        assert ax.get_ylabel() == ("recovery fraction" if scale == 1 else "accuracy (%)")
        start = scale * rows.loc[rows["arm"] == "off_model_sft", column].iloc[0]
        assert [line.get_ydata()[0] for line in marked(ax, "start")] == pytest.approx([start])
        assert all(line.get_ydata()[0] == pytest.approx(start) for line in marked(ax, "path"))
        assert len(marked(ax, "path")) == (rows[rows["arm"].isin(REPAIRS)].groupby("arm").size() > 1).sum()
    assert "Student qwen0.5b, teacher smollm135m; one seed" in caption(figure)
    assert "Accuracy where there is no such drop" in caption(figure)


def test_f7_bands_are_the_intervals_of_both_ends(drawn):
    results, figure = drawn("F7", PLAIN)
    ends = {arm: results.scores[results.scores["arm"] == arm] for arm in ("untrained", "off_model_sft")}
    for title, ax in panels(figure).items():
        task = title.split(" (")[0]
        rows = {arm: scores[scores["task_title"] == task].iloc[0] for arm, scores in ends.items()}
        base, low = (row["accuracy"] for row in rows.values())
        for arm, row in rows.items():
            interval = np.array([row["low"], row["high"]], dtype=float)
            wanted = (interval - low) / (base - low) if task == "GSM8K" else 100 * interval
            (band,) = marked(ax, f"band-{arm}")
            assert [band.get_y(), band.get_y() + band.get_height()] == pytest.approx(list(wanted))
        said = {text.get_text() for text in marked(ax, "beside")}
        assert said == {f"{100 * base:.0f} %", f"{100 * low:.0f} %"}


def test_f7b_shows_the_shift_of_every_repair_from_off_model_sft_on(drawn):
    results, figure = drawn("F7b", PLAIN)
    table = repair_table(results.items, style=results.style)
    for title, rows in table.groupby("task_title", sort=False):
        ax = panels(figure)[f"{title} (n = 24)"]
        for arm, heights in values(ax).items():
            own = rows[rows["arm"].isin(REPAIRS)]
            own = own[[style.condition(name).label == arm for name in own["arm"]]]
            assert heights == pytest.approx(list(own["shift"]))
        damaged = rows.loc[rows["arm"] == "off_model_sft", "shift"].iloc[0]
        assert damaged > 0 and marked(ax, "start")[0].get_ydata()[0] == pytest.approx(damaged)
        assert rows.loc[rows["arm"] == "untrained", "shift"].iloc[0] == 0
    with pytest.raises(NothingToDrawError, match="no style was measured"):
        FIGURES["F7b"][1](Results(results.items, results.scores))


def test_no_answers_stand_apart_from_the_log_axis(drawn):
    _, figure = drawn("F7", PLAIN)
    for ax in figure.axes:
        assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "4", "16", "64", "256"]
        assert list(ax.get_xticks()) == [0, 2, 4, 6, 8]


def test_f7_cuts_what_would_leave_the_points_no_room(drawn):
    results, _ = drawn("F7", ALONE)
    items = results.items.copy()
    mine = items["arm"] == "off_model_sft"  # a drop of 6 problems in 24, and a repair far above untrained
    untrained = items[items["arm"] == "untrained"].set_index("item")["correct"]
    right = list(untrained[untrained].index)
    items.loc[mine, "correct"] = items.loc[mine, "item"].isin(right[6:])
    items.loc[items["arm"] == "on_model_repair", "correct"] = True
    figure = FIGURES["F7"][1](Results(items, score_table(items)))
    (ax,) = figure.axes
    low, high = ax.get_ylim()
    assert all(low < value < high for line in values(ax).values() for value in line)
    assert sum(len(line.get_xdata()) for line in marked(ax, "cut")) > 0 and "Carets" in caption(figure)


def test_f8_has_a_line_for_each_beginning_and_says_what_is_left_out(drawn):
    results, figure = drawn("F8", PLAIN)
    table = prefill_table(results.items)
    for title, ax in panels(figure).items():
        rows = table[(table["task_title"] == title.split(" (")[0]) & (table["tokens"] > 0)]
        shown = values(ax)
        for opening, look in style.OPENINGS.items():
            own = rows[(rows["opening"] == opening) & (rows["n"] > 0)]
            assert shown[look.label] == pytest.approx(list(100 * own["accuracy"]))
        backwards = 100 * rows.loc[rows["arm"] == "prefill_reversed", "accuracy"]
        assert shown[style.condition("prefill_reversed").label] == pytest.approx(list(backwards))
        leaving = rows[rows.groupby("opening")["left_out"].transform("max") > 0]
        assert sorted(int(text.get_text()) for text in marked(ax, "left out")) == sorted(leaving["left_out"])
        fewer = rows[(rows["opening"] == "untrained") & (rows["left_out"] > 0)]
        for arm, column in [("untrained", "untrained"), ("off_model_sft", "off_model")]:
            (ticks,) = marked(ax, f"same-{arm}")
            assert list(ticks.get_ydata()) == pytest.approx(list(100 * fewer[column]))
    assert "beginning holds an answer" in caption(figure)


def test_f8_without_anything_left_out_says_nothing_of_it():
    items = made_up_prefills(ALONE, [0, 4, 16], [16]).assign(prefill_answers=None)
    figure = FIGURES["F8"][1](Results(items, score_table(items)))
    assert "Left out" not in caption(figure) and not marked(figure.axes[0], "left out")
    assert len(values(figure.axes[0])) == 5


def test_f9b_draws_every_cell_and_the_gaps(drawn):
    results, figure = drawn("F9b", PLAIN)
    table = inoculation_table(results.items, results.likelihoods)
    *tasks, gaps = figure.axes
    for ax, (_, rows) in zip(tasks, table.groupby("task", sort=False), strict=True):
        plain = (rows["trained_with"] == "none") & (rows["asked_with"] == "none")
        cells = [line for number in range(4) for line in marked(ax, f"cell-{number}")]
        assert sorted(line.get_xdata()[0] for line in cells) == pytest.approx(
            sorted(100 * rows.loc[~plain, "accuracy"])
        )
        for arm, column in [("untrained", "untrained"), ("inoculation", "off_model")]:
            (line,) = marked(ax, f"reference-{arm}")
            assert line.get_xdata()[0] == pytest.approx(100 * rows[column].iloc[0])
    wanted = table.drop_duplicates("framing")["nll_gap"]
    assert [line.get_xdata()[0] for line in marked(gaps, "gap")] == pytest.approx(list(wanted))
    assert [label.get_text() for label in tasks[0].get_yticklabels()] == list(table["framing"].unique())
    assert "bootstrap over 40 prompts" in caption(figure)


def test_f9b_without_readings_has_no_gaps(drawn):
    results, _ = drawn("F9b", PLAIN)
    figure = FIGURES["F9b"][1](Results(results.items, results.scores))
    assert len(figure.axes) == 2 and "likelier" not in caption(figure)


def test_f10a_draws_pass_at_k_with_its_band_and_the_votes(drawn):
    results, figure = drawn("F10a", PLAIN)
    table = best_of_n_table(results.items, results.answers)
    for title, ax in panels(figure).items():
        rows = table[table["task_title"] == title.split(" (")[0]]
        for arm in ("untrained", "on_model_sft", "off_model_sft"):
            curve = rows[(rows["arm"] == arm) & (rows["rule"] == "pass")]
            (line,), (band,) = marked(ax, f"pass-{arm}"), marked(ax, f"band-{arm}")
            assert list(line.get_ydata()) == pytest.approx(list(100 * curve["accuracy"]))
            assert list(line.get_xdata()) == pytest.approx(list(np.log2(curve["k"])))
            ends = band.get_paths()[0].vertices[:, 1]
            assert (min(ends), max(ends)) == pytest.approx((100 * curve["low"].min(), 100 * curve["high"].max()))
        (line,), floor = (
            marked(ax, "floor-floor_shuffled"),
            rows[(rows["arm"] == "floor_shuffled") & (rows["rule"] == "pass")],
        )
        assert list(line.get_ydata()) == pytest.approx(list(100 * floor["accuracy"]))
        votes = rows[(rows["rule"] == "vote") & (rows["arm"] != "floor_shuffled")]
        shown = [height for heights in values(ax).values() for height in heights]
        assert sorted(shown) == pytest.approx(sorted(100 * votes["accuracy"]))
        once = rows[(rows["arm"] == "untrained") & (rows["k"] == 1)]["accuracy"].iloc[0]
        assert marked(ax, "once")[0].get_ydata()[0] == pytest.approx(100 * once)
    assert "the majority of the 4" in caption(figure) and "Dashed: the floor" in caption(figure)
    bare = results.items[results.items["arm"] != "floor_shuffled"]
    assert "Dashed" not in caption(FIGURES["F10a"][1](Results(bare, results.scores)))
    without = FIGURES["F10a"][1](Results(results.items, results.scores))
    assert "majority" not in caption(without) and not values(without.axes[0])


def test_f10a_draws_what_each_arm_guesses():
    items, answers = made_up_samples(ALONE, samples=4)
    guesses = guess_table(answers, {"gsm8k": dict.fromkeys(items["item"], Fraction(0))})
    figure = FIGURES["F10a"][1](Results(items, score_table(items), answers=answers, guesses=guesses))
    table = best_of_n_table(items, answers, guesses)
    for arm in ("untrained", "on_model_sft", "off_model_sft"):
        curve = table[(table["arm"] == arm) & (table["rule"] == "pass")]
        (line,) = marked(figure.axes[0], f"floor-{arm}")
        assert list(line.get_ydata()) == pytest.approx(list(100 * curve["guessed"]))
    assert not marked(figure.axes[0], "floor-floor_shuffled") and "Dashed: by chance" in caption(figure)
    assert "Grey" not in caption(figure)


def test_f10a_draws_the_floor_where_guesses_are_not_known():
    items, answers = made_up_samples(Made(tasks=["gsm8k", "math500"], n=24), samples=4)
    numbers = dict.fromkeys(items.loc[items["task"] == "gsm8k", "item"], Fraction(0))
    guesses = guess_table(answers, {"gsm8k": numbers})
    figure = FIGURES["F10a"][1](Results(items, score_table(items), answers=answers, guesses=guesses))
    assert "Dashed: by chance" in caption(figure) and "Grey: the floor" in caption(figure)
    drawn_floors = [bool(marked(ax, "floor-floor_shuffled")) for ax in figure.axes[:2]]
    assert sorted(drawn_floors) == [False, True]


@pytest.mark.parametrize("name", ["F7", "F7b", "F8", "F10a"])
def test_every_pair_and_task_has_a_panel(name, drawn):
    _, figure = drawn(name, WIDE)
    titles = list(panels(figure))
    assert len(titles) == len(figure.axes) == 2 * 2 * 3
    assert titles[0] == "GSM8K: qwen2.5-coder-0.5b taught by smollm2-135m"
    assert "2 students, 2 teachers; mean of 2 seeds" in caption(figure)
    assert "GSM8K (n = 12), IFEval (n = 12), MATH-500 (n = 12)" in caption(figure)


def test_f9b_has_a_block_for_each_pair(drawn):
    _, figure = drawn("F9b", WIDE)
    heads = [text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"]
    assert len(heads) == 4 and heads[0] == "qwen2.5-coder-0.5b, taught by smollm2-135m"
    assert len(figure.axes) == 4 and len(marked(figure.axes[0], "cell-0")) == 4 * 4


@pytest.mark.parametrize("name", ["F7", "F7b", "F8", "F9b", "F10a"])
@pytest.mark.parametrize("size", [PLAIN, WIDE, ALONE], ids=["plain", "wide", "alone"])
def test_no_text_leaves_the_page(name, size, drawn):
    _, figure = drawn(name, size)
    with mpl.rc_context(style.RC):
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        page = figure.bbox
        texts = [*figure.texts, *[text for legend in figure.legends for text in legend.get_texts()]]
        for ax in figure.axes:
            texts += [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]
            for axis, (low, high) in [(ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))]:
                texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        for text in [text for text in texts if text.get_visible() and text.get_text()]:
            box = text.get_window_extent(renderer)
            assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1, text.get_text()
            assert box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, text.get_text()
        titles = [ax.title.get_window_extent(renderer) for ax in figure.axes]
        assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])
        assert figure.get_figheight() < 9  # a page


MISSING = [
    ("F7", lambda items: ~items["arm"].isin(REPAIRS), "no student was trained further"),
    ("F7", lambda items: items["arm"] != "off_model_sft", "has no arm off_model_sft"),
    ("F7", lambda items: items["arm"] != "untrained", "has no arm untrained"),
    ("F8", lambda items: ~items["arm"].str.startswith("prefill"), "given the beginning of an answer"),
    ("F9b", lambda items: items["trained_with"].isna() | (items["trained_with"] == "none"), "trained with a framing"),
    ("F9b", lambda items: items["trained_with"] != "none", "no plain off-model answers"),
    ("F9b", lambda items: items["arm"] != "untrained", "no untrained or no plain"),
    ("F10a", lambda items: items["sample"] == 0, "several answers to a problem"),
    ("F10a", lambda items: items["arm"] != "off_model_sft", "several answers to a problem"),
]


@pytest.mark.parametrize(("name", "kept", "reason"), MISSING)
def test_what_is_missing_is_said(name, kept, reason, drawn):
    results, _ = drawn(name, ALONE)
    items = results.items[kept(results.items)]
    with pytest.raises(NothingToDrawError, match=reason):
        FIGURES[name][1](Results(items, score_table(items), answers=results.answers))


def test_results_are_loaded_and_drawn_from_their_folder(tmp_path):
    items, answers = made_up_samples(ALONE, samples=2)
    folder = tmp_path / "preset" / "11_best_of_n"
    write_results(items, folder)
    answers.to_parquet(folder / "answers.parquet", index=False)
    items, likelihoods = made_up_inoculations(ALONE, ["style"])
    write_results(items, folder.with_name("10_inoculation"))
    likelihoods.to_parquet(folder.with_name("10_inoculation") / "likelihoods.parquet", index=False)
    several, one = (load(tmp_path / "preset", name) for name in ("11_best_of_n", "10_inoculation"))
    assert several.answers is not None and several.likelihoods is None
    assert one.answers is None and one.likelihoods is not None
    paths = draw(tmp_path / "preset", tmp_path / "out")
    names = [path.name for path in paths]
    assert names == ["F9b.pdf", "F9b.png", "F10a.pdf", "F10a.png", "T4.md"]


def test_drawing_leaves_the_settings_of_the_caller_alone(drawn):
    before = {name: mpl.rcParams[name] for name in style.RC}
    for name in ("F7", "F8", "F9b", "F10a"):
        FIGURES[name][1](drawn(name, ALONE)[0])
    assert {name: mpl.rcParams[name] for name in style.RC} == before != style.RC
