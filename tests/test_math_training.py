"""Training on solutions: its tables by hand, and F12, F13 and T2 against them."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixture_items import arm_rows, tiny_items
from test_objectives_compared import no_text_leaves_or_overlaps

from analysis.figures_dft import f12_convergence, f13_probabilities
from analysis.load import NothingToDrawError, Results
from analysis.reasoning_text import markdown_by_greedy, markdown_t2
from analysis.versus_text import markdown_versus
from offmodel import statistics
from offmodel.errors import RunError
from offmodel.math_training import BIN_EDGES, by_greedy, final_table, grid, head_to_head, progress, token_bins
from offmodel.published import published_accuracy
from offmodel.results import score_table


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 400)


def by_hand(grid_too: bool = True) -> pd.DataFrame:
    """Two answers to each of four sums and two squares. Untrained: 25 % and 50 %; DFT at step 4: 75 % and 50 %."""
    right = {
        ("untrained", None): {"sums": ("1000", "1000"), "squares": ("10", "10")},
        ("sft", 2): {"sums": ("1000", "0000"), "squares": ("00", "00")},
        ("sft", 4): {"sums": ("1000", "1000"), "squares": ("00", "10")},
        ("dft", 2): {"sums": ("1100", "1100"), "squares": ("10", "10")},
        ("dft", 4): {"sums": ("1110", "1110"), "squares": ("10", "01")},
    }
    rows = []
    for (arm, step), tasks in right.items():
        for task, samples in tasks.items():
            for sample, correct in enumerate(samples):
                about = {"experiment": "16_dft", "task": task, "task_title": task.title(), "sample": sample}
                rows += arm_rows(arm, correct, **about, step=step, learning_rate=None, batch_size=None)
    for rate, batch, correct in [(1e-3, 8, "1110"), (1e-4, 8, "1100"), (1e-3, 32, "0000")] if grid_too else ():
        for task, answers in [("sums", correct), ("squares", correct[:2])]:
            for sample in (0, 1):
                about = {"experiment": "16_dft", "task": task, "task_title": task.title(), "sample": sample}
                rows += arm_rows("dft", answers, **about, step=None, learning_rate=rate, batch_size=batch)
    return tiny_items(rows)


def counted(arm: str, *probabilities: float) -> pd.DataFrame:
    bins = token_bins([math.log(p) for p in probabilities])
    return bins.assign(experiment="16_dft", reading="training_set", reader="small", writer="solutions", arm=arm, seed=0)


@pytest.fixture
def plain() -> Results:
    items = by_hand()
    read = [counted("untrained", 0.05, 0.5, 0.95, 0.95), counted("dft", 0.00005, 0.95, 0.95, 0.95)]
    return Results(items, score_table(items), probabilities=pd.concat(read))


def test_every_token_falls_into_one_bin_and_certainty_into_the_last():
    bins = token_bins([math.log(p) for p in (5e-5, 1e-4, 0.05, 0.1, 0.95)] + [0.0, -1000.0])
    assert bins["tokens"].sum() == 7
    assert bins.set_index("low")["tokens"].to_dict() == dict.fromkeys(BIN_EDGES[:-1], 0) | {
        0.0: 2, 1e-4: 1, 0.01: 1, 0.1: 1, 0.9: 2,
    }  # fmt: skip


def test_progress_starts_with_the_untrained_and_leaves_the_grid_out():
    table = progress(score_table(by_hand()))
    sums = table[table["task"] == "sums"]
    assert list(zip(sums["arm"], sums["step"], sums["accuracy"], strict=True)) == [
        ("untrained", 0, 0.25), ("sft", 2, 0.125), ("sft", 4, 0.25), ("dft", 2, 0.5), ("dft", 4, 0.75),
    ]  # fmt: skip


def test_the_grid_is_a_mean_over_tasks():
    table = grid(by_hand())
    assert list(table["accuracy"]) == [0.5 * (0.75 + 1), 0.5 * (0.5 + 1), 0.0]
    assert (table["tasks"] == 2).all() and list(table["batch_size"]) == [8, 8, 32]
    # Two answers that agree are one: 3 of 4 sums and 2 of 2 squares, 0 of 4 and 0 of 2.
    for row, right in ((0, (3, 2)), (2, (0, 0))):
        expected = statistics.mean_of([statistics.wilson(k, n) for k, n in zip(right, (4, 2), strict=True)])
        assert list(table.loc[row, ["low", "high"]]) == pytest.approx(expected[1:])
    assert grid(by_hand().drop(columns="learning_rate")).empty


def test_the_final_table_is_of_the_last_steps_and_averages_tasks_not_problems():
    items = by_hand()
    table = final_table(items, score_table(items)).set_index(["arm", "task"])
    assert table.loc[("dft", "average"), "accuracy"] == pytest.approx((0.75 + 0.5) / 2)  # by problem: 8 of 12
    assert table.loc[("dft", "average"), "difference"] == pytest.approx(0.25)  # +50 and +0 points
    assert (table["samples"] == 2).all() and (table.xs("dft")["step"] == 4).all()
    assert table.loc[("dft", "average"), "n"] == 6
    # SFT changes no sum, and one of two squares by a half.
    changes = ([0, 0, 0, 0], [0, -0.5])
    expected = statistics.mean_of([statistics.small_sample_difference(one, [0] * len(one)) for one in changes])
    changed = table.loc[("sft", "average"), ["difference", "difference_low", "difference_high"]]
    assert list(changed) == pytest.approx(list(expected))
    assert table["difference"].isna().loc[[("untrained", "average")]].all()


def test_what_was_solved_greedily_is_told_apart_by_hand():
    made = by_hand(grid_too=False)
    made = made[(made["task"] == "sums") & made["step"].ne(2)]
    greedy = tiny_items(arm_rows("untrained", "1100") + arm_rows("sft", "1111"))
    table = by_greedy(made, greedy)
    found = table.set_index(["arm", "solved"])["accuracy"].to_dict()
    # of the two problems that are solved greedily, and of the two others
    assert found == {
        ("untrained", True): 0.5, ("untrained", False): 0, ("sft", True): 0.5, ("sft", False): 0,
        ("dft", True): 1, ("dft", False): 0.5,
    }  # fmt: skip
    none, half, all_ = "0.0 [0.0, 65.8]", "50.0 [9.5, 90.5]", "100.0 [34.2, 100.0]"
    assert markdown_by_greedy(made, greedy).splitlines() == [
        "| small, sums | solved greedily (n = 2), avg@k | solved greedily (n = 2), pass@k "
        "| not solved greedily (n = 2), avg@k | not solved greedily (n = 2), pass@k |",
        "|---|---:|---:|---:|---:|",
        f"| untrained | {half} | {half} | {none} | {none} |",
        f"| SFT | {half} | {half} | {none} | {none} |",
        f"| DFT | {all_} | {all_} | {half} | {half} |",
    ]
    assert (table["n"] == 2).all() and table.loc[table["arm"] == "dft", "low"].gt(0).all()


@pytest.mark.parametrize("greedy", ["110", "11000"])
def test_each_problem_needs_its_greedy_answer(greedy: str):
    made = by_hand(grid_too=False)
    made = made[(made["task"] == "sums") & (made["arm"] == "untrained")]
    rows = arm_rows("untrained", greedy) + (arm_rows("untrained", "1") if len(greedy) > 4 else [])
    with pytest.raises(RunError, match="the one greedy answer"):
        by_greedy(made, tiny_items(rows))


def test_one_objective_against_another_setting_by_setting_and_over_the_grid():
    items = by_hand()
    rows = arm_rows(
        "sft", "1000", task="sums", task_title="Sums", experiment="16_dft", learning_rate=1e-3, batch_size=8
    )
    rows += arm_rows(
        "sft", "0100", task="sums", task_title="Sums", experiment="16_dft", learning_rate=1e-4, batch_size=8
    )
    both = pd.concat([items, tiny_items(rows)], ignore_index=True)
    table = head_to_head(both, "dft", "sft")
    sums = table[table["task"] == "sums"].reset_index(drop=True)
    # steps 2 and 4; the grid's 1e-3 with 8 ("1110" twice against "1000") and 1e-4 with 8 ("1100" against "0100")
    assert sums["difference"].to_list() == pytest.approx([0.5 - 0.125, 0.75 - 0.25, 0.5, 0.25, 0.375])
    assert sums["settings"].to_list() == [1, 1, 1, 1, 2] and (sums["n"] == 4).all()
    assert sums["step"].to_list()[:2] == [2, 4] and sums.loc[2:3, "learning_rate"].to_list() == [1e-3, 1e-4]
    assert np.isnan([sums[name].iloc[4] for name in ("step", "learning_rate", "batch_size")]).all()
    # over the grid the problems differ by 1/2, 1/2, 1/2 and 0
    mean = statistics.small_sample_difference([0.5, 0.5, 0.5, 0], [0] * 4)
    assert sums[["difference", "difference_low", "difference_high"]].iloc[4].to_list() == pytest.approx(list(mean))
    # Of the two answers to each problem one is right for 2 and 1 problems, then for 3 and 1; in the grid SFT gave one.
    assert sums["pass_difference"].to_list()[:2] == pytest.approx([0.25, 0.5])
    assert sums[["pass_difference", "pass_difference_low", "pass_p"]].iloc[2:].isna().all(axis=None)
    # At step 4 two problems are won: two tosses of a coin.
    assert sums[["p", "pass_p"]].iloc[1].to_list() == [0.5, 0.5] and sums["pass_p"].iloc[0] == 1
    assert table[table["task"] == "squares"]["settings"].to_list() == [1, 1]  # SFT was not tried on them in the grid
    assert head_to_head(items, "dft", "asft").empty
    offline = items[items["step"] == 4].drop(columns=["step", "learning_rate", "batch_size"])  # as in script 17
    assert head_to_head(offline, "dft", "sft")["difference"].to_list() == pytest.approx([0.5, 0.25])
    assert "| the preset's | +50.0 [" in markdown_versus(Results(offline, score_table(items)), "dft", "sft")
    lines = markdown_versus(Results(both, score_table(both)), "dft", "sft").splitlines()
    assert lines[0].endswith("| DFT − SFT, avg@k, points [95 %] | p | pass@k, points [95 %] | p |")
    assert len(lines) == 2 + len(table) and "| 0.500 | +50.0 [" in lines[3]
    settings = [line.split(" | ")[2] for line in lines[2:7]]
    assert settings[:2] == ["step 2", "step 4"] and settings[2] == "rate 0.001, batches of 8"
    assert settings[4] == "mean of the 2 of the grid" and "| +37.5 [" in lines[6]
    with pytest.raises(NothingToDrawError, match="'dft' and 'asft' have no setting in common"):
        markdown_versus(Results(items, score_table(items)), "dft", "asft")


def test_the_convergence_is_drawn_step_by_step(plain: Results):
    figure = f12_convergence(plain)
    lines = {str(line.get_gid()): line for line in figure.axes[0].lines}
    assert np.asarray(lines["steps-dft"].get_ydata()).tolist() == [50, 75]
    assert np.allclose(np.asarray(lines["steps-dft"].get_xdata(), dtype=float), [2, 4], atol=0.1)
    drawn = {str(line.get_gid()): line for ax in figure.axes for line in ax.lines}
    assert np.asarray(drawn["grid-dft-8"].get_ydata()).tolist() == [75, 87.5]
    assert np.asarray(drawn["grid-untrained"].get_ydata()).tolist() == [37.5, 37.5]
    spread = {str(bars.get_gid()): bars for ax in figure.axes for bars in ax.collections}["spread-dft-8"]
    ends = [np.asarray(path.vertices)[:, 1].tolist() for path in spread.get_paths()]
    of_rates = [statistics.mean_of([statistics.wilson(right, 4), statistics.wilson(2, 2)]) for right in (2, 3)]
    assert ends == [pytest.approx([100 * one.low, 100 * one.high]) for one in of_rates]
    no_text_leaves_or_overlaps(figure)
    without_grid = by_hand(grid_too=False)
    assert len(f12_convergence(Results(without_grid, score_table(without_grid))).axes) == 2


def test_the_histogram_shows_shares_and_leaves_none_out(plain: Results):
    figure = f13_probabilities(plain)
    lines = {str(line.get_gid()): np.asarray(line.get_ydata(), dtype=float) for line in figure.axes[0].lines}
    assert lines["share-untrained"][-1] == 50 and lines["share-dft"][-1] == 75
    assert lines["share-dft"][0] == 25 and np.isnan(lines["share-untrained"][0])
    no_text_leaves_or_overlaps(figure)


def test_t2_shows_avg_at_k_with_intervals(plain: Results):
    lines = markdown_t2(plain).splitlines()
    heads = [f"{task}, {rule}@2" for task in ("Sums", "Squares", "average") for rule in ("avg", "pass")]
    assert lines[0] == f"| student | objective | steps | {' | '.join(heads)} |"
    # Its two answers agree on every sum; of the squares each has another one right.
    cells = [cell.split(" [")[0] for cell in lines[4].split(" | ")[3:]]
    assert lines[4].startswith("| small | DFT | 4 | ") and cells == ["75.0", "75.0", "50.0", "100.0", "62.5", "87.5"]
    assert lines[-1].startswith("avg@k: ") and len(lines) == 7


def test_published_numbers_stand_beside_ours_only_in_the_paper_s_setting():
    there: dict[str, Any] = {"student": "qwen2.5-math-1.5b", "arm": "dft", "task": "math500", "n": 500, "samples": 16}
    assert published_accuracy(**there, adapter="full") == pytest.approx(0.6489)
    others = {"student": "qwen2.5-1.5b", "arm": "eaft", "task": "gsm8k", "n": 200, "samples": 4, "adapter": "lora"}
    for name, other in others.items():
        assert published_accuracy(**there | {name: other}) is None
    about = {"experiment": "16_dft", "student": there["student"], "task": "math500", "task_title": "MATH-500"}
    rows = []
    for sample in range(16):
        for arm, step, adapter in [("untrained", None, None), ("dft", 4, "full")]:
            rows += arm_rows(arm, "10" * 250, **about, sample=sample, step=step, adapter=adapter)
    items = tiny_items(rows)
    lines = markdown_t2(Results(items, score_table(items))).splitlines()
    assert "; published 31.66 |" in lines[2] and "; published 64.89 |" in lines[3]


def test_without_training_there_is_nothing_to_draw(plain: Results):
    items = plain.items[plain.items["arm"] == "untrained"]
    untrained = Results(items, score_table(items))
    for draw in (f12_convergence, f13_probabilities, markdown_t2):
        with pytest.raises(NothingToDrawError):
            draw(untrained)
