"""RL update by update, by hand on a small table; the figure F10b against the table that it shows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixture_items import arm_rows, tiny_items
from fixture_objectives import Made, made_up_rl
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from test_objectives_compared import no_text_leaves_or_overlaps

from analysis import style as looks
from analysis.figures_rl import f10b_rl
from analysis.load import NothingToDrawError, Results
from offmodel import statistics
from offmodel.results import score_table
from offmodel.rl_progress import COLUMNS, reward_curves, rl_table
from offmodel.style import style_effects


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 400)


def by_hand() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ten problems: 9 right untrained, 1 after off-model SFT, 5 after RL from there."""
    rl = {"experiment": "12_rl", "after": "big", "reward": "number", "updates": 4, "objective": "grpo"}
    rows = arm_rows("untrained", "1111111110", experiment="12_rl")
    rows += arm_rows("off_model_sft", "1000000000", experiment="12_rl", teacher="big", objective="sft")
    rows += arm_rows("rl", "1111100000", **rl, start="off_model_sft")
    rows += arm_rows("rl", "1111111100", **rl, start="untrained")
    curves = [{"experiment": "12_rl", "student": "small", "arm": "off_model_sft", "step": 4, "loss": 1.0, "seed": 0}]
    for seed, earned in [(0, (0.1, 0.2, 0.3, 0.4)), (1, (0.3, 0.4, 0.5, 0.6))]:
        keys = rl | {"student": "small", "arm": "rl", "start": "off_model_sft", "seed": seed}
        for step, reward in enumerate(earned, start=1):
            counted = {"tokens": 100 * step + 10 * seed, "sampled_tokens": 60 * step}
            curves.append(keys | {"step": step, "reward_of_step": reward} | counted)
    return tiny_items(rows), pd.DataFrame(curves)


@pytest.fixture(scope="module")
def plain() -> Results:
    made = Made(tasks=("gsm8k", "ifeval"), n=30, seeds=(0, 1), updates=20)
    items, curves, style = made_up_rl(made)
    return Results(items, score_table(items), style=style, curves=curves)


def drawn(figure: Figure, prefix: str) -> list[Any]:
    return [line for ax in figure.axes for line in ax.lines if str(line.get_gid()).startswith(prefix)]


def test_a_table_by_hand():
    items, curves = by_hand()
    table = rl_table(items, score_table(items), curves)
    assert list(table.columns) == COLUMNS
    assert list(table["arm"]) == ["untrained", "off_model_sft", "rl", "rl"]
    assert list(table["updates"]) == [0, 0, 4, 4]
    damaged, whole = table.iloc[2], table.iloc[3]
    assert (damaged["start"], damaged["accuracy"]) == ("off_model_sft", 0.5)
    assert damaged["change"] == pytest.approx(0.4) and damaged["change_low"] < 0 < damaged["change_high"]
    assert damaged["p"] == pytest.approx(2 / 2**4)  # four problems won and none lost
    assert damaged["fraction"] == pytest.approx((0.5 - 0.1) / (0.9 - 0.1)) and pd.isna(damaged["fraction_low"])
    assert "fewer than 6 problems changed" in damaged["reason"]
    assert damaged["mean_reward"] == pytest.approx((0.4 + 0.6) / 2)
    # 100 + 200 + 300 + 400 tokens with one seed, 40 more with the other
    assert (damaged["training_tokens"], damaged["sampled_tokens"]) == (1020, 600)
    assert whole["change"] == pytest.approx(-0.1) and whole["p"] == 1
    assert pd.isna(whole["fraction"]) and whole[["mean_reward", "training_tokens"]].isna().all()
    assert table[["change", "fraction", "mean_reward"]].head(2).isna().all(axis=None)


def test_a_fraction_of_no_drop_has_its_reason():
    items, _ = by_hand()
    items.loc[items["arm"] == "off_model_sft", "correct"] = True
    row = rl_table(items, score_table(items)).iloc[2]
    assert pd.isna(row["fraction"]) and "below 5 the fraction means nothing" in row["reason"]
    without = items[items["arm"] != "untrained"]
    row = rl_table(without, score_table(without)).iloc[1]
    assert (
        row["change"] == pytest.approx(-0.5)
        and row["reason"] == "there is no arm untrained of the same seeds to compare with"
    )


def test_without_rl_there_are_no_rows():
    items, curves = by_hand()
    before = items[items["arm"] != "rl"].drop(columns=["after", "start", "reward", "updates"])
    assert rl_table(before, score_table(before), curves).empty


def test_the_curve_is_the_mean_over_seeds():
    curve = reward_curves(by_hand()[1])
    assert list(curve["mean_reward"]) == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert list(curve["seeds"]) == [2] * 4
    assert list(curve["training_tokens"]) == [105, 310, 615, 1020]
    assert reward_curves(None).empty and reward_curves(by_hand()[1].head(1)).empty


def test_the_shift_is_that_of_style_effects(plain):
    table = rl_table(plain.items, plain.scores, plain.curves, plain.style)
    assert plain.style is not None
    effects = style_effects(plain.style)
    both = table.merge(effects, on=["task", "arm", "start", "reward", "updates"], suffixes=("", "_there"))
    assert len(both) == 2 * 2 * 2 * 3
    assert list(both["shift_low"]) == list(both["shift_low_there"])
    off_model = effects[effects["arm"] == "off_model_sft"]
    assert list(table.loc[table["arm"] == "off_model_sft", "shift"]) == list(off_model["shift"])


def test_f10b_draws_each_row_and_each_curve(plain):
    table = rl_table(plain.items, plain.scores, plain.curves, plain.style)
    figure = f10b_rl(plain)
    assert len(figure.axes) == 5  # accuracy and style of two tasks, one reward
    lines = drawn(figure, "rl-")
    assert len(lines) == 4 * 4
    reinforced = table[table["arm"] == "rl"]
    shown = [float(y) for line in lines for y in line.get_ydata()]
    assert sorted(shown) == pytest.approx(sorted([*(100 * reinforced["accuracy"]), *reinforced["shift"]]))
    for line in lines:
        _, start, reward = str(line.get_gid()).split("-")
        assert line.get_color() == looks.condition(start).colour
        assert (to_hex(line.get_markerfacecolor()) == "#ffffff") == (reward == "format")
    starts = table[table["arm"] == "off_model_sft"]
    references = [float(line.get_ydata()[0]) for line in drawn(figure, "reference-off_model_sft")]
    assert references == pytest.approx([*(100 * starts["accuracy"]), *starts["shift"]])
    curve = reward_curves(plain.curves)
    (running,) = drawn(figure, "reward-untrained-number")
    own = curve[(curve["start"] == "untrained") & (curve["reward"] == "number")]["mean_reward"].to_list()
    assert len(running.get_ydata()) == 20
    assert running.get_ydata()[10] == pytest.approx(np.mean(own[9:11]))  # a tenth of 20 updates
    said = " ".join(text.get_text() for text in figure.texts if text.get_gid() == "caption")
    assert "Student qwen0.5b, off-model SFT on answers of smollm135m; mean of 2 seeds" in said
    assert figure.axes[0].get_title() == "GSM8K (n = 30)"
    no_text_leaves_or_overlaps(figure)


def test_f10b_at_column_width_without_style_and_curves():
    items, _ = by_hand()
    figure = f10b_rl(Results(items, score_table(items)))
    assert len(figure.axes) == 1 and figure.get_figwidth() == looks.COLUMN_WIDTH
    no_text_leaves_or_overlaps(figure)


def test_f10b_says_what_is_missing():
    items, _ = by_hand()
    before = items[items["arm"] != "rl"]
    with pytest.raises(NothingToDrawError, match="no student was reinforced"):
        f10b_rl(Results(before, score_table(before)))
    for arm in ("untrained", "off_model_sft"):
        without = items[items["arm"] != arm]
        with pytest.raises(NothingToDrawError, match=f"small has no arm {arm}"):
            f10b_rl(Results(without, score_table(without)))
