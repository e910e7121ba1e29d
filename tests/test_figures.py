"""Figures and printed tables against the tables that they show. The items are invented; see fixture_items."""

import hashlib
import os
import re
import subprocess
import sys
from typing import Any

import matplotlib as mpl
import pytest
from fixture_items import arm_rows, made_up_items, tiny_items
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis import make_all, style
from analysis.figures import f1_degradation, f2_by_level
from analysis.layout import spread
from analysis.load import NothingToDrawError, Results, load
from analysis.repeats import markdown_repeats
from analysis.tables import (
    AT_FLOOR,
    WIDTH,
    markdown_against,
    markdown_scores,
    markdown_uncut,
    print_scores,
)
from offmodel.errors import RequestError, RunError
from offmodel.paths import ROOT
from offmodel.results import is_floor, level_table, score_table, write_results

TEACHERS = ["smollm135m", "gemma270m", "llama-3.2-1b"]


def results(**study) -> Results:
    items = made_up_items(**study)
    return Results(items, score_table(items))


@pytest.fixture(scope="module")
def plain() -> Results:
    return results()


@pytest.fixture(scope="module")
def wide() -> Results:
    return results(students=["qwen0.5b", "gemma1b"], teachers=TEACHERS, seeds=[0, 1])


@pytest.fixture(scope="module")
def deep() -> Results:
    """A drop of all hundred points, whose axis has the widest labels."""
    made = tiny_items([
        row
        for arm, right in [("untrained", "1" * 8), ("off_model_sft", "0" * 8)]
        for level in ("1", "2")
        for row in arm_rows(arm, right, task=f"sums{level}", level=level, teacher=None if arm == "untrained" else "big")
    ]).assign(task="sums", item=lambda items: items["item"] + items["level"])  # fmt: skip
    return Results(made, score_table(made))


def points(figure: Figure) -> list[Any]:
    """The lines that mark the scores of F1."""
    return [line for ax in figure.axes for line in ax.lines if str(line.get_gid()).startswith("point-")]


def caption(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts if text.get_gid() == "caption")


@pytest.mark.parametrize("which", ["plain", "wide"])
def test_f1_shows_each_score_and_its_change_once(which, request):
    shown: Results = request.getfixturevalue(which)
    figure = f1_degradation(shown)
    arms = shown.scores[~shown.scores["arm"].map(is_floor)]
    assert sorted(line.get_xdata()[0] for line in points(figure)) == pytest.approx(sorted(100 * arms["accuracy"]))
    changes = [text.get_text() for ax in figure.axes for text in ax.texts if text.get_gid() == "change"]
    numbers = [float(text.replace("−", "-")) for text in changes if text != "Δ"]
    assert len(numbers) == arms["difference"].notna().sum()
    assert sorted(numbers) == pytest.approx(sorted(100 * arms["difference"].dropna()), abs=0.0501)
    for ax in figure.axes:
        task = arms[[title in ax.get_title() for title in arms["task_title"]]]
        assert f"n = {task['n'].iloc[0]}" in ax.get_title()


def test_f1_rows_are_named_and_students_headed(wide):
    ax = f1_degradation(wide).axes[0]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert len(labels) == 2 * (2 + 2 * len(TEACHERS))
    assert labels[:3] == ["untrained", "on-model SFT", "off-model SFT, smollm135m"]
    assert {"qwen0.5b", "gemma1b"} <= {text.get_text() for text in ax.texts}


def test_f1_marks_seeds_floor_and_what_cannot_be_told_from_it(wide, plain):
    drawn: list[Any] = [line for ax in f1_degradation(wide).axes for line in ax.lines if line.get_gid() == "seeds"]
    assert len(drawn) == (wide.scores["seeds"] == 2).sum()
    assert all(len(line.get_xdata()) == 2 for line in drawn)
    items = plain.items.copy()
    items.loc[(items["arm"] == "off_model_sft") & (items["task"] == "arithmetic"), "correct"] = False
    fallen = f1_degradation(Results(items, score_table(items)))
    assert "Hollow" in caption(fallen) and "Hollow" not in caption(f1_degradation(plain))
    hollow = [line for line in points(fallen) if to_hex(line.get_markerfacecolor()) == "#ffffff"]
    assert [line.get_gid() for line in hollow] == ["point-off_model_sft"]
    lines: list[Any] = [line for ax in fallen.axes for line in ax.collections if line.get_gid() == "floor"]
    assert [line.get_segments()[0][0][0] for line in lines] == pytest.approx(
        list(100 * plain.scores.drop_duplicates("task")["floor"])
    )


def test_f1_says_who_and_how_many_seeds(plain, wide):
    assert "Student qwen0.5b, teacher smollm135m" in caption(f1_degradation(plain))
    assert "one seed" in caption(f1_degradation(plain))
    assert "2 students, 3 teachers" in caption(f1_degradation(wide))
    assert "mean of 2 seeds" in caption(f1_degradation(wide))


def test_f2_draws_each_level_of_each_arm(plain):
    figure = f2_by_level(plain)
    (ax,) = figure.axes
    table = level_table(plain.items)
    containers: list[Any] = list(ax.containers)
    drawn = [container.lines[0] for container in containers]
    assert len(drawn) == 3
    for line, arm in zip(drawn, ["on_model_sft", "off_model_sft", "off_model_dft"], strict=True):
        wanted = table[table["arm"] == arm].sort_values("level")["difference"]
        assert list(line.get_ydata()) == pytest.approx(list(100 * wanted))
        assert to_hex(line.get_color()).upper() == style.condition(arm).colour
    assert {text.get_text() for text in ax.texts} == {"on-model SFT", "off-model SFT", "off-model DFT"}
    assert "Arithmetic (n = 120)" in caption(figure)


def test_f2_has_a_panel_for_each_pair(wide):
    figure = f2_by_level(wide)
    assert len(figure.axes) == 6
    assert all(len(ax.containers) == 3 for ax in figure.axes)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["on-model SFT", "off-model SFT", "off-model DFT"]


def test_f2_without_levels_says_so():
    with pytest.raises(NothingToDrawError, match="levels"):
        f2_by_level(results(tasks=["knowledge"]))


@pytest.mark.parametrize("draw", [f1_degradation, f2_by_level])
@pytest.mark.parametrize("which", ["plain", "wide", "deep"])
def test_no_text_leaves_the_page(draw, which, request):
    with mpl.rc_context(style.RC):
        figure = draw(request.getfixturevalue(which))
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        page = figure.bbox
        for ax in figure.axes:
            texts = [*figure.texts, *ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]
            for axis, (low, high) in [(ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))]:
                texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            for text in [text for text in texts if text.get_visible() and text.get_text()]:
                box = text.get_window_extent(renderer)
                assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1, text.get_text()
                assert box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, text.get_text()


def test_drawing_leaves_the_settings_of_the_caller_alone(plain):
    before = {name: mpl.rcParams[name] for name in style.RC}
    f1_degradation(plain)
    assert {name: mpl.rcParams[name] for name in style.RC} == before != style.RC


def test_every_figure_is_drawn_with_the_same_bytes_in_every_process(tmp_path):
    write_results(made_up_items(seeds=[0, 1]), tmp_path / "results" / "01_degradation")
    code = "import sys; from pathlib import Path; from analysis.make_all import draw; "
    code += "draw(Path(sys.argv[1]), Path(sys.argv[2]))"
    digests = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "results"), str(out)], check=True, env=environment)
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()})
    assert digests[0] == digests[1]
    assert set(digests[0]) == {f"{name}.{kind}" for name in ("F1", "F2") for kind in ("pdf", "png")} | {"T5.md"}


def test_draw_takes_what_is_there(tmp_path, capsys):
    assert make_all.draw(tmp_path, tmp_path / "out") == []
    write_results(made_up_items(tasks=["knowledge"]), tmp_path / "01_degradation")
    assert [path.name for path in make_all.draw(tmp_path, tmp_path / "out")] == ["F1.pdf", "F1.png", "T5.md"]
    assert "F2 not drawn" in capsys.readouterr().err
    assert make_all.draw(tmp_path, tmp_path / "out", only=["F2"]) == []
    with pytest.raises(RequestError, match="no figure 'F99'"):
        make_all.draw(tmp_path, tmp_path / "out", only=["F99"])


def test_main_draws_each_preset_and_says_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_all, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(make_all, "OUT", tmp_path / "analysis" / "figures")
    assert make_all.main() == 2
    assert "01_degradation.py" in capsys.readouterr().err
    write_results(made_up_items(), tmp_path / "results" / "pocket" / "01_degradation")
    assert make_all.main() == 0
    printed = capsys.readouterr().out.split()
    of_preset = ["F1.pdf", "F1.png", "F2.pdf", "F2.png", "T5.md"]
    assert printed == [*(f"analysis/figures/pocket/{name}" for name in of_preset), "analysis/figures/T1.md"]
    *figures, t5, t1 = ((tmp_path / path).read_bytes() for path in printed)
    assert min(map(len, [*figures, t1])) > 2000 and t5.startswith(b"| learned |")


def test_drawing_imports_no_model_library():
    code = "import sys, analysis.make_all, analysis.tables; "
    code += "print([n for n in ('torch', 'transformers', 'lm_eval', 'vllm', 'peft') if n in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_load_names_the_command_that_makes_what_is_missing(tmp_path):
    with pytest.raises(RequestError, match=r"python experiments/01_degradation\.py --preset pocket"):
        load(tmp_path / "pocket", "01_degradation")
    (tmp_path / "pocket" / "01_degradation").mkdir(parents=True)
    (tmp_path / "pocket" / "01_degradation" / "items.parquet").write_bytes(b"not a table")
    with pytest.raises(RequestError, match="cannot read"):
        load(tmp_path / "pocket", "01_degradation")


def test_load_takes_numbers_from_the_items(tmp_path):
    written = write_results(made_up_items(), tmp_path / "01_degradation")
    (tmp_path / "01_degradation" / "scores.csv").write_text("edited\n")
    assert load(tmp_path, "01_degradation").scores["accuracy"].to_list() == written["accuracy"].to_list()


def test_load_refuses_a_broken_table(tmp_path):
    (tmp_path / "01_degradation").mkdir()
    made_up_items().drop(columns="seed").to_parquet(tmp_path / "01_degradation" / "items.parquet")
    with pytest.raises(RunError, match="seed"):
        load(tmp_path, "01_degradation")


def test_every_condition_looks_like_no_other_and_an_objective_the_same_everywhere():
    looks = [style.condition(arm) for arm in style.CONDITIONS if not is_floor(arm)]
    by_objective = {arm.removeprefix("off_model_") for arm in style.CONDITIONS if not is_floor(arm)}
    assert len({(look.colour, look.marker) for look in looks}) == len(by_objective) == len(looks) - 4
    for name in ("sft", "dft", "iw_sft", "asft"):
        assert style.condition(name)[1:3] == style.condition(f"off_model_{name}")[1:3]
    assert len({look.label for look in looks}) == len(looks)
    unknown = style.condition("off_model_mine")
    assert (unknown.label, unknown.order) == ("off model mine", len(looks) + 3)  # after the three floors
    assert (unknown.colour, unknown.marker) not in {(look.colour, look.marker) for look in looks}


def test_the_printed_table_by_hand():
    rows = arm_rows("untrained", "1111111100") + arm_rows("off_model_sft", "1000000110", teacher="big")
    rows += arm_rows("floor_echo", "1100000000")
    text = print_scores(score_table(tiny_items(rows)))
    assert text.startswith("Sums: 10 problems")
    (line,) = [line for line in text.split("\n") if "off_model_sft" in line]
    assert re.match(
        r"~ off_model_sft \(big\)\s+30\.0 \[10\.8,  60\.3\]\s+0\.0\s+0\.0\s+10\s+-50\.0 \[.*\]\s+0\.125$", line
    )
    assert re.search(r"^  floor_echo \(floor\)\s+20\.0 ", text, re.MULTILINE)
    assert f"{AT_FLOOR} not above the floor" in text.replace("\n", " ")


def test_the_printed_table_has_every_arm_and_fits(wide):
    text = print_scores(wide.scores)
    assert max(len(line) for line in text.split("\n")) <= WIDTH
    assert sum(line.split()[:1] == ["off_model_sft"] for line in text.split("\n")) == 3 * 2 * len(TEACHERS)
    assert "floor: " in text and AT_FLOOR not in text


def test_a_long_name_gets_a_line_of_its_own():
    teacher = "a-teacher-with-a-very-long-name-of-some-seventy-characters-in-all-0.5b"
    rows = arm_rows("untrained", "1110") + arm_rows("off_model_sft", "1010", teacher=teacher)
    text = print_scores(score_table(tiny_items(rows)))
    assert max(len(line) for line in text.split("\n")) <= WIDTH
    assert f"off_model_sft ({teacher})\n" in text


def test_the_markdown_table_is_square(wide):
    lines = [line for line in markdown_scores(wide.scores).split("\n") if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    arms, floors = (~wide.scores["arm"].map(is_floor)).sum(), 2 * 3
    assert len(lines) == 2 + arms + floors


def test_labels_are_spread_without_changing_their_order():
    placed = spread([3.0, 0.0, 0.1], gap=1.0)
    assert placed == pytest.approx([3.0, -0.45, 0.55])
    assert spread([0.0, 5.0], gap=1.0) == [0.0, 5.0]


def test_losses_apart_from_cut_answers_by_hand():
    rows = arm_rows("untrained", "1110") + arm_rows("off_model_sft", "0101", teacher="big")
    rows[0]["truncated"] = rows[4 + 1]["truncated"] = True  # i0 untrained, i1 after
    assert markdown_uncut(tiny_items(rows), ["sums"]).splitlines()[2:] == [
        "| Sums | small | off-model SFT (big) | 2 of 4 | 1 | 1 |"
    ]
    again = arm_rows(
        "off_model_sft", "0011", teacher="big", seed=1
    )  # of 3 that were cut in neither 2 were right, 2 are
    assert markdown_uncut(tiny_items(rows + again), ["sums"]).splitlines()[2:] == [
        "| Sums | small | off-model SFT (big) | 2.5 of 4 | 1.5 | 1.5 |"
    ]
    with pytest.raises(ValueError, match="a problem has several untrained"):
        markdown_uncut(tiny_items(rows + arm_rows("untrained", "1110", sample=1)), ["sums"])


def test_a_score_made_twice_by_hand():
    first = tiny_items([*arm_rows("untrained", "1110"), *arm_rows("off_model_sft", "0101", teacher="big")])
    first["scores_id"] = ["a"] * 4 + ["b"] * 4
    second = tiny_items([*arm_rows("untrained", "1011"), *arm_rows("off_model_sft", "0000", teacher="big")])
    second["scores_id"] = ["a"] * 4 + ["c"] * 4  # the second is of another recipe
    assert markdown_repeats(first, second).splitlines()[2:] == [
        "| Sums | small | untrained (seed 0) | 3 of 4 | 3 | 2 |"  # i1 and i3 the other way
    ]


def test_arms_are_compared_with_a_trained_one_too():
    rows = arm_rows("untrained", "1111111100") + arm_rows("on_model_sft", "1111111000", teacher="small")
    rows += arm_rows("off_model_sft", "1000000000", teacher="big") + arm_rows(
        "off_model_dft", "1111110000", teacher="big"
    )
    lines = markdown_against(tiny_items(rows), "on_model_sft", ["sums"]).splitlines()
    assert lines[0].startswith("| task | student | arm | change from on-model SFT")
    assert [line.split(" | ")[2:] for line in lines[2:]] == [
        ["off-model SFT (big)", "-60.0 [-90.0, -30.0]", "0.062 |"],  # 6 lost, none won: 2 / 2⁶, twice
        ["off-model DFT (big)", "-10.0 [-36.2, +19.6]", "1.000 |"],  # one lost
    ]


def test_the_spread_over_seeds_stands_beside_the_mean():
    rows = arm_rows("untrained", "1111") + arm_rows("off_model_sft", "1100", teacher="big")
    assert "sd" not in print_scores(score_table(tiny_items(rows)))
    table = score_table(tiny_items(rows + arm_rows("off_model_sft", "1000", teacher="big", seed=1)))
    trained = [line for line in markdown_scores(table).splitlines() if "off_model_sft" in line]
    assert trained[0].split(" | ")[4] == "17.7"  # of 50 and 25 %: 25 / √2
    assert "sd: standard deviation of the accuracy over training seeds" in print_scores(table).replace("\n", " ")
