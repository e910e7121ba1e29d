"""What objectives keep and learn, by hand on small tables; the figure F14 against the table that it shows."""

import itertools
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fixture_items import arm_rows, tiny_items
from fixture_objectives import Made, made_up_objectives
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis import style as looks
from analysis.figures_objectives import f14_objectives
from analysis.load import NothingToDrawError, Results, load
from analysis.objectives_text import markdown_t6, uptake_and_changes
from offmodel import statistics
from offmodel.errors import RunError
from offmodel.objectives_compared import COLUMNS, objective_table, pareto_front
from offmodel.results import score_table, write_results
from offmodel.style import style_effects

ARMS = {"untrained": "1111", "on_model_sft": "1110", "off_model_sft": "1000", "off_model_dft": "1100"}
TEACHERS = {"untrained": None, "on_model_sft": "small", "off_model_sft": "big", "off_model_dft": "big"}
# By prompt: log-probabilities in nats of 10 and 30 tokens.
NATS = {"untrained": (-40, -120), "on_model_sft": (-40, -116), "off_model_sft": (-20, -60), "off_model_dft": (-30, -90)}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 400)


def by_hand() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, read = [], []
    for arm, marks in ARMS.items():
        rate = 1e-3 if TEACHERS[arm] == "big" else None
        rows += arm_rows(arm, marks, experiment="18_objectives", teacher=TEACHERS[arm], learning_rate=rate)
        for key, tokens, nats in zip("ab", (10, 30), NATS[arm], strict=True):
            keys = {"experiment": "18_objectives", "reading": "teacher_unseen", "arm": arm, "learning_rate": rate}
            keys |= {"seed": 0, "reader": "small", "writer": "big", "after": "big"}
            read.append(keys | {"key": key, "tokens": tokens, "logprob": float(nats)})
    return tiny_items(rows), pd.DataFrame(read)


def shown(made: Made, **left_out: None) -> Results:
    items, likelihoods, style = made_up_objectives(made)
    tables: dict[str, Any] = {"style": style, "likelihoods": likelihoods} | left_out
    return Results(items, score_table(items), **tables)


@pytest.fixture(scope="module")
def plain() -> Results:
    return shown(Made(tasks=("gsm8k", "ifeval"), rates=(1e-4, 1e-3), n=30, prompts=12, seeds=(0, 1)))


def row_of(table: pd.DataFrame, arm: str, **wanted: Any) -> pd.Series:
    for name, value in ({"arm": arm} | wanted).items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_the_front_by_hand():
    # Against (0, 0), (1, −1), (2, −2): (1, −2) and (0, −1) lose, a twin of one on the front does not.
    assert pareto_front([0, 1, 2, 1, 0, 1], [0, -1, -2, -2, -1, -1]).tolist() == [True] * 3 + [False] * 2 + [True]
    assert pareto_front([0, 1], [0, 0]).tolist() == [False, True]  # as little loss, more learned
    both = pareto_front(np.array([[0, 1], [0, -1]]), np.array([[0, 1], [0, -1]]))
    assert both.tolist() == [[False, True], [True, False]]


def test_a_table_by_hand():
    items, read = by_hand()
    table = objective_table(items, score_table(items), read)
    assert list(table.columns) == COLUMNS
    assert set(table["measure"]) == {"nll"} and len(table) == 4
    sft, dft, own = (row_of(table, arm) for arm in ("off_model_sft", "off_model_dft", "on_model_sft"))
    assert (sft["change"], dft["change"], own["change"]) == pytest.approx((-0.75, -0.5, -0.25))
    assert (sft["uptake"], dft["uptake"], own["uptake"]) == pytest.approx((80 / 40, 40 / 40, 4 / 40))
    # Two prompts: each resample is one of them twice, or both; both gain 2 nats a token under SFT.
    assert (sft["uptake_low"], sft["uptake_high"], sft["uptake_n"]) == pytest.approx((2, 2, 2))
    assert (own["uptake_low"], own["uptake_high"]) == pytest.approx((0, 4 / 30))
    untrained = row_of(table, "untrained")
    assert (untrained["change"], untrained["uptake"]) == (0, 0) and pd.isna(untrained["uptake_low"])
    assert table["on_front"].all()  # each learns more and loses more
    assert table["front_share"].between(0, 1).all() and sft["front_share"] == 1
    assert sft["after"] == "big" and sft["learning_rate"] == pytest.approx(1e-3) and pd.isna(own["learning_rate"])


def test_the_share_on_the_front_by_hand():
    items, read = by_hand()
    items.loc[items["arm"] == "off_model_dft", "correct"] = [True, False, False, False]
    table = objective_table(items, score_table(items), read)
    # DFT now loses just what SFT loses and learns less, in every resample.
    dft = row_of(table, "off_model_dft")
    assert not dft["on_front"] and dft["front_share"] == 0


def test_the_numbers_are_those_of_the_scores_and_of_style_effects(plain):
    table = objective_table(plain.items, plain.scores, plain.likelihoods, plain.style)
    moved = table[(table["measure"] == "style") & (table["arm"] != "untrained")]
    assert plain.style is not None
    effects = style_effects(plain.style)
    keys = ["task", "arm", "learning_rate", "on_model_share"]
    both = moved.merge(effects, on=keys, suffixes=("", "_there"))
    assert len(both) == len(moved) == len(effects)
    assert list(both["uptake"]) == pytest.approx(list(both["shift"]))
    assert list(both["uptake_low"]) == pytest.approx(list(both["shift_low"]), abs=0.03)
    scores = plain.scores.merge(moved, on=keys, suffixes=("", "_there"))
    assert list(scores["difference_low"]) == list(scores["change_low"])


def test_seeds_meet_in_a_prompt(plain):
    assert plain.likelihoods is not None
    read = plain.likelihoods[plain.likelihoods["arm"].isin(["untrained", "off_model_stm"])]
    read = read[read["learning_rate"].isna() | (read["learning_rate"] == 1e-3)]
    nats = read.groupby("arm")["logprob"].sum()
    tokens = read.loc[read["arm"] == "untrained", "tokens"].sum()
    table = objective_table(plain.items, plain.scores, plain.likelihoods)
    row = row_of(table, "off_model_stm", task="gsm8k", learning_rate=1e-3)
    assert row["uptake"] == pytest.approx((nats["off_model_stm"] - nats["untrained"]) / tokens)
    assert (row["uptake_n"], row["seeds"]) == (12, 2)
    assert row["uptake_low"] < row["uptake"] < row["uptake_high"]


def test_arms_read_on_different_answers_are_refused():
    items, read = by_hand()
    with pytest.raises(RunError, match="off_model_dft of small was not read on the same answers"):
        objective_table(items, score_table(items), read.iloc[:-1])


def test_an_arm_that_was_not_read_has_no_uptake_and_is_not_on_the_front():
    items, read = by_hand()
    row = row_of(objective_table(items, score_table(items), read[read["arm"] != "off_model_dft"]), "off_model_dft")
    assert row["change"] == pytest.approx(-0.5)
    assert pd.isna(row["uptake"]) and pd.isna(row["on_front"])


def drawn(figure: Figure, prefix: str) -> list[Any]:
    return [line for ax in figure.axes for line in ax.lines if str(line.get_gid()).startswith(prefix)]


def test_the_settings_in_numbers_are_those_of_the_table(plain):
    shown = uptake_and_changes(plain)
    table = objective_table(plain.items, plain.scores, plain.likelihoods, plain.style)
    read = table[(table["measure"] == "nll") & (table["arm"] != "untrained")]
    assert len(shown) == len(read.drop_duplicates(["arm", "learning_rate", "on_model_share"]))
    one = shown[(shown["objective"] == "off-model DFT") & (shown["learning_rate"] == 1e-3)].iloc[0]
    dft = table[(table["arm"] == "off_model_dft") & (table["learning_rate"] == 1e-3) & (table["task"] == "gsm8k")]
    by_nll, by_style = (dft[dft["measure"] == measure].iloc[0] for measure in ("nll", "style"))
    assert one["NLL"] == pytest.approx(by_nll["uptake"], abs=0.005) and pd.isna(one["own, %"])
    assert one["GSM8K"] == pytest.approx(100 * by_nll["change"], abs=0.05)
    assert one["GSM8K, style"] == pytest.approx(100 * by_style["uptake"], abs=0.05)
    assert shown["own, %"].dropna().unique().tolist() == [10.0, 50.0]


def test_t6_by_hand():
    items, read = by_hand()
    lines = markdown_t6(Results(items, score_table(items), likelihoods=read)).splitlines()
    assert lines[0] == "**small** taught by big" and lines[2] == "| objective | rate | learned | Sums | style |"
    # Two prompts of which each gains 2 nats a token; three of four sums are lost.
    sft = next(line for line in lines if line.startswith("| off-model SFT "))
    assert sft.startswith("| off-model SFT | 0.001 | +2.00 [+2.00, +2.00] | -75.0 [") and sft.endswith("] |  |")
    assert lines[4].startswith("| on-model SFT |  | +0.10 [") and len(lines) == 9
    one_prompt = markdown_t6(Results(items, score_table(items), likelihoods=read[read["key"] == "a"]))
    assert "| off-model SFT | 0.001 | +2.00 | -75.0 [" in one_prompt  # of one there is no interval
    with pytest.raises(NothingToDrawError, match="held-out answers were not read"):
        markdown_t6(Results(items, score_table(items)))


def test_t6_has_a_row_for_each_setting_and_marks_what_is_left_after_holm(plain):
    lines = [line for line in markdown_t6(plain).splitlines() if line.startswith(("| off-model", "| DFT", "| on-"))]
    compared = plain.scores[plain.scores["difference"].notna()]
    assert len(lines) == len(compared) / 2  # two tasks
    bold = sum(line.count("**") for line in lines) / 2
    assert bold == compared["p_holm"].lt(0.05).sum() > 0
    half = next(line for line in lines if line.startswith("| off-model, mixed with own, 50 % | 0.001 |"))
    of_half = uptake_and_changes(plain)
    of_half = of_half[of_half["own, %"].eq(50) & of_half["learning_rate"].eq(1e-3)].iloc[0]
    cells = [cell.strip(" *") for cell in half.split("|")]
    assert cells[3].startswith(f"{of_half['NLL']:+.2f} [") and cells[4].startswith(f"{of_half['GSM8K']:+.1f} [")
    assert abs(int(cells[7]) - of_half["IFEval, style"]) <= 0.55


def test_t6_marks_each_teacher_by_its_own_p():
    two = shown(Made(teachers=("smollm135m", "gemma270m"), tasks=("gsm8k",), rates=(1e-3,), n=30, prompts=12))
    marked = {}
    for teacher, part in zip(("smollm135m", "gemma270m"), markdown_t6(two).split("**qwen0.5b**")[1:], strict=True):
        assert part.startswith(f" taught by {teacher}")
        marked[teacher] = sum("**" in line for line in part.splitlines())
    left = two.scores[two.scores["p_holm"].lt(0.05)].groupby("teacher").size()
    assert marked == left.reindex(["smollm135m", "gemma270m"], fill_value=0).to_dict()
    assert marked["smollm135m"] != marked["gemma270m"]


def test_f14_draws_each_row_with_both_intervals_and_says_how_many(plain):
    table = objective_table(plain.items, plain.scores, plain.likelihoods, plain.style)
    figure = f14_objectives(plain)
    assert len(figure.axes) == 4  # two tasks, two measures
    points = drawn(figure, "point-")
    placed = sorted((float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in points)
    assert np.array(placed) == pytest.approx(np.array(sorted(zip(table["uptake"], 100 * table["change"], strict=True))))
    for line in points:
        look = looks.condition(str(line.get_gid()).removeprefix("point-"))
        assert (line.get_color(), line.get_marker()) == (look.colour, look.marker)
    assert len(drawn(figure, "interval")) == 2 * len(table)
    assert len(drawn(figure, "path")) == 4 * 14  # an objective's learning rates, and those of two mixtures
    panels = itertools.product(["nll", "style"], ["gsm8k", "ifeval"])
    for line, (measure, task) in zip(drawn(figure, "front"), panels, strict=True):
        rows = table[(table["measure"] == measure) & (table["task"] == task)]
        corners = sorted(rows.loc[rows["on_front"].eq(True), "uptake"])
        assert list(line.get_xdata())[1:-1] == pytest.approx(corners)
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert len(labels) == len(set(labels)) == 16 and "mixed with own, 10 %" in labels
    said = " ".join(text.get_text() for text in figure.texts if text.get_gid() == "caption")
    assert "Student qwen0.5b, teacher smollm135m; mean of 2 seeds" in said
    assert "12 prompts" in said and "0.0001, 0.001" in said
    assert figure.axes[0].get_title() == "GSM8K (n = 30)"
    no_text_leaves_or_overlaps(figure)


def test_f14_at_column_width_without_style():
    figure = f14_objectives(shown(Made(tasks=("gsm8k",), rates=(1e-3,), n=20, prompts=8), style=None))
    assert len(figure.axes) == 1 and figure.get_figwidth() == looks.COLUMN_WIDTH
    no_text_leaves_or_overlaps(figure)


def no_text_leaves_or_overlaps(figure: Figure) -> None:
    with mpl.rc_context(looks.RC):
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        page = figure.bbox
        texts = [*figure.texts, *[text for legend in figure.legends for text in legend.get_texts()]]
        for ax in figure.axes:
            texts += [ax.title, ax.xaxis.label, ax.yaxis.label]
            for axis, (low, high) in [(ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))]:
                texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        shown_ = [text for text in texts if text.get_visible() and text.get_text()]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown_]
        for text, box in boxes:
            assert box.x0 >= page.x0 - 1 and box.x1 <= page.x1 + 1, text
            assert box.y0 >= page.y0 - 1 and box.y1 <= page.y1 + 1, text
        for (one, box), (other, over) in itertools.combinations(boxes, 2):
            apart = (box.x1 < over.x0 + 1 or over.x1 < box.x0 + 1) or (box.y1 < over.y0 + 1 or over.y1 < box.y0 + 1)
            assert apart, (one, other)


def test_f14_says_what_is_missing():
    items, read = by_hand()
    with pytest.raises(NothingToDrawError, match=r"likelihoods\.parquet"):
        f14_objectives(Results(items, score_table(items)))
    with pytest.raises(NothingToDrawError, match=r"likelihoods\.parquet"):
        f14_objectives(Results(items, score_table(items), likelihoods=read[read["arm"] != "untrained"]))
    own = items[items["arm"].isin(["untrained", "on_model_sft"])]
    with pytest.raises(NothingToDrawError, match="no student was trained on another model's answers"):
        f14_objectives(Results(own, score_table(own), likelihoods=read))


def test_the_tables_beside_the_items_are_loaded_where_they_are_there(tmp_path):
    items, read = by_hand()
    write_results(items, tmp_path / "18_objectives")
    assert load(tmp_path, "18_objectives").likelihoods is None
    read.to_parquet(tmp_path / "18_objectives" / "likelihoods.parquet")
    found = load(tmp_path, "18_objectives")
    assert found.likelihoods is not None and len(found.likelihoods) == 8
    assert found.curves is None and found.style is None
