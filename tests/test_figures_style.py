"""F6 against the table that it shows. Answers and their styles are invented; no classifier is trained."""

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fixture_items import arm_rows, made_up_items, tiny_items
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis import style
from analysis.figures_style import f6_style
from analysis.load import NothingToDrawError
from offmodel.results import is_floor
from offmodel.style import accuracy_by_style, style_effects


def styled(items: pd.DataFrame) -> pd.DataFrame:
    """A style table of these items: off-model arms lean to their teacher, the more the likelier they are wrong."""
    rng = np.random.default_rng(7)
    answers = items[(items["kind"] == "generate") & ~items["arm"].map(is_floor)]
    off_model = answers["teacher"].notna() & (answers["teacher"] != answers["student"])
    parts = []
    for student, teacher in answers.loc[off_model, ["student", "teacher"]].drop_duplicates().to_numpy():
        rows = answers[(answers["student"] == student) & (~off_model | (answers["teacher"] == teacher))]
        lean = 0.25 + 0.35 * off_model[rows.index] - 0.1 * (off_model & answers["correct"].astype(bool))[rows.index]
        probability = np.clip(lean + rng.normal(0, 0.18, len(rows)), 0.01, 0.99)
        measures = {"words": 40, "steps": 0, "latex": 0, "boxed": 0, "self_check": 0, "loops": 0}
        measures |= {"student_opening": 0, "teacher_opening": 0, "teacher_openings_from": "chat"}
        numbers = {"classifier_accuracy": 0.94, "classifier_low": 0.91, "classifier_high": 0.96, "classifier_n": 512}
        parts.append(rows.assign(compared_with=teacher, teacher_probability=probability, **measures, **numbers))
    return pd.concat(parts, ignore_index=True)


class Drawn(NamedTuple):
    table: pd.DataFrame
    figure: Figure


@pytest.fixture(scope="module")
def plain() -> Drawn:
    table = styled(made_up_items())
    return Drawn(table, f6_style(table))


@pytest.fixture(scope="module")
def wide() -> Drawn:
    """Two students, three teachers, two seeds: the most rows that one page must hold."""
    teachers = ["smollm2-1.7b", "gemma-3-270m", "qwen3-0.6b-think"]
    table = styled(made_up_items(["qwen2.5-0.5b", "llama-3.2-1b"], teachers, [0, 1]))
    return Drawn(table, f6_style(table))


@pytest.fixture(scope="module")
def deep() -> Drawn:
    """One task and a fall of all hundred points, in a foreign style throughout; and an arm of empty answers."""
    rows = [*arm_rows("untrained", "1" * 12), *arm_rows("off_model_sft", "0" * 12, teacher="big")]
    rows += arm_rows("off_model_more", "0" * 12, teacher="big", k=1024)
    table = styled(tiny_items(rows))
    table["teacher_probability"] = table["arm"].map({"untrained": 0.1, "off_model_sft": 0.9})
    return Drawn(table, f6_style(table))


def drawn(figure: Figure, prefix: str) -> list[Any]:
    return [line for ax in figure.axes for line in ax.lines if str(line.get_gid()).startswith(prefix)]


def caption(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts if text.get_gid() == "caption")


@pytest.mark.parametrize("which", ["plain", "wide"])
def test_each_arm_teacher_and_task_is_one_point(which, request):
    table, figure = request.getfixturevalue(which)
    points = drawn(figure, "point-")
    placed = sorted((float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in points)
    wanted = sorted((row["shift"], 100 * row["change"]) for _, row in style_effects(table).iterrows())
    assert np.array(placed) == pytest.approx(np.array(wanted))
    for line in points:
        look = style.condition(str(line.get_gid()).removeprefix("point-"))
        assert (to_hex(line.get_color()).upper(), line.get_marker()) == (look.colour, look.marker)


@pytest.mark.parametrize("which", ["plain", "wide"])
def test_each_arm_is_judged_once_in_each_style_with_its_n(which, request):
    table, figure = request.getfixturevalue(which)
    judged = accuracy_by_style(table)
    for name in ("home", "foreign"):
        rows = judged[(judged["judged"] == name) & (judged["n"] >= 10)]
        placed = sorted(float(line.get_xdata()[0]) for line in drawn(figure, f"{name}-"))
        assert placed == pytest.approx(sorted(100 * rows["accuracy"]))
    numbers = [int(text.get_text()) for ax in figure.axes for text in ax.texts if text.get_gid() == "n"]
    assert sorted(numbers) == sorted(judged["n"])
    controls = sorted(float(line.get_xdata()[0]) for line in drawn(figure, "control"))
    assert controls == pytest.approx(sorted(100 * judged.loc[judged["n"] >= 10, "untrained"]))


def test_tasks_are_told_apart_by_their_filling(plain):
    faces = [to_hex(line.get_markerfacecolor()) for line in drawn(plain.figure, "point-")]
    assert faces.count("#ffffff") == 3
    legends = [[text.get_text() for text in legend.get_texts()] for legend in plain.figure.legends]
    assert ["Instructions", "Arithmetic"] in legends


def test_the_caption_says_how_many_and_how_good_the_classifier_is(plain, wide):
    said = caption(plain.figure)
    assert "Instructions (n = 80), Arithmetic (n = 120)" in said
    assert "Student qwen0.5b, teacher smollm135m; one seed" in said
    assert "right on 94 % [91, 96] of held-out ones (n = 512)" in said
    assert "2 students, 3 teachers; mean of 2 seeds" in caption(wide.figure)


def test_rows_are_headed_by_what_differs(plain, wide):
    plainly, widely = ([text.get_text() for text in made.figure.axes[1].texts if text.get_weight() == "bold"]
                       for made in (plain, wide))  # fmt: skip
    assert plainly == ["Instructions", "Arithmetic"]
    assert len(widely) == len(set(widely)) == 2 * 2 * 3
    assert widely[0] == "Instructions: qwen2.5-0.5b, teacher smollm2-1.7b"


def test_an_empty_side_has_its_n_and_no_point(deep):
    shown = drawn(deep.figure, "home-") + drawn(deep.figure, "foreign-")
    assert [line.get_gid() for line in shown] == ["foreign-off_model_sft"]
    assert [text.get_text() for text in deep.figure.axes[1].texts if text.get_gid() == "n"] == ["0", "12", "0", "0"]


@pytest.mark.parametrize("which", ["plain", "wide", "deep"])
def test_no_text_leaves_the_page(which, request):
    figure = request.getfixturevalue(which).figure
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
        assert figure.get_figheight() < 9  # a page


def test_without_a_task_title_the_name_stands_for_it(plain):
    figure = f6_style(plain.table.drop(columns="task_title"))
    assert "arithmetic" in {text.get_text() for text in figure.axes[1].texts}


def test_tasks_that_had_nothing_to_lose_are_left_out(plain):
    titles = plain.table["task_title"].unique()
    scores = pd.DataFrame(
        {"task_title": titles, "arm": "untrained", "at_floor": [title != titles[0] for title in titles]}
    )
    figure = f6_style(plain.table, scores)
    assert f"at its floor there: {', '.join(titles[1:])}." in caption(figure) and caption(figure).startswith(titles[0])
    assert len(drawn(figure, "point-")) == len(drawn(plain.figure, "point-")) / len(titles)
    everything = f6_style(plain.table, scores.assign(at_floor=True))  # a figure of nothing would say less
    assert len(drawn(everything, "point-")) == len(drawn(plain.figure, "point-"))


def test_without_a_trained_arm_it_says_so(plain):
    for table in (plain.table[plain.table["arm"] == "untrained"], plain.table.head(0)):
        with pytest.raises(NothingToDrawError, match="no style to compare"):
            f6_style(table)


def test_drawing_leaves_the_settings_of_the_caller_alone(deep):
    before = {name: mpl.rcParams[name] for name in style.RC}
    f6_style(deep.table)
    assert {name: mpl.rcParams[name] for name in style.RC} == before != style.RC
