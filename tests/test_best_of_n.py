"""pass@k, the vote, and all interventions on one axis."""

import numpy as np
import pandas as pd
import pytest
from fixture_items import arm_rows, tiny_items
from fixture_recovery import (
    Made,
    made_up_curves,
    made_up_inoculations,
    made_up_prefills,
    made_up_repairs,
    made_up_samples,
)
from test_rl_progress import by_hand as reinforced_by_hand

from offmodel import statistics as st
from offmodel.best_of_n import best_of_n_table, vote
from offmodel.costs import COST_COLUMNS, cost_table
from offmodel.errors import RunError
from offmodel.inoculation import inoculation_table
from offmodel.recovery import prefill_table, repair_table
from offmodel.results import score_table
from offmodel.rl_progress import rl_table

PAIR = {"teacher": "big", "objective": "sft", "adapter": "lora"}


def sampled(arm: str, *samples: str, **more: object) -> list[dict]:
    """Rows of an arm: a string of marks for each sample."""
    return [row for number, marks in enumerate(samples) for row in arm_rows(arm, marks, sample=number, **more)]


def by_hand() -> pd.DataFrame:
    rows = sampled("untrained", "1111", "1111", "1110", "1110")
    return tiny_items(rows + sampled("off_model_sft", "1000", "1100", "1000", "1000", **PAIR))


def row_of(table: pd.DataFrame, **wanted: object) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_pass_at_k_by_hand():
    table = best_of_n_table(by_hand())
    damaged = table[table["arm"] == "off_model_sft"].set_index("k")
    assert damaged.index.to_list() == [1, 2, 4] and set(damaged["rule"]) == {"pass"}
    # Of 4 answers the first problem's are all right, the second's one, the others' none: 1 − C(3, k) / C(4, k).
    assert damaged["accuracy"].to_list() == pytest.approx([(1 + 1 / 4) / 4, (1 + 1 / 2) / 4, (1 + 1) / 4])
    base, low = (3 + 1 / 2) / 4, (1 + 1 / 4) / 4
    wanted = [(value - low) / (base - low) for value in damaged["accuracy"]]
    assert damaged["fraction"].to_list() == pytest.approx(wanted)
    assert table.loc[table["arm"] == "untrained", ["fraction", "reason"]].isna().all(axis=None)
    assert (damaged["samples"] == 4).all() and (damaged["n"] == 4).all()


def test_two_of_four_answers_are_worth_two_runs():
    row = row_of(best_of_n_table(by_hand()), arm="off_model_sft", k=2)
    expected = st.mean_share([1, 1 / 2, 0, 0], runs=2)
    assert (row["accuracy"], row["low"], row["high"]) == pytest.approx(expected)


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_one_answer_is_the_mean_accuracy_of_the_score_table(seeds):
    items, answers = made_up_samples(Made(seeds=seeds, n=25), samples=6)
    table = best_of_n_table(items, answers)
    scores = score_table(items).set_index(["arm", "task"])
    first = table[table["k"] == 1].set_index(["arm", "task"])
    assert len(first) == len(scores) == 8
    for name in ("accuracy", "low", "high"):
        assert first[name].to_dict() == pytest.approx(scores[name].to_dict())
    assert sorted(set(table["k"])) == [1, 2, 4, 6]  # powers of two, and all
    rising = table[table["rule"] == "pass"].groupby(["arm", "task"])["accuracy"]
    assert all(values.is_monotonic_increasing for _, values in rising)


def test_the_floor_gets_as_many_guesses():
    items = pd.concat([by_hand(), tiny_items(sampled("floor_shuffled", "0100", "0000", "0000", "0100"))])
    floor = best_of_n_table(items).set_index("arm").loc["floor_shuffled"].set_index("k")
    # One problem, which two of four answers to another one happen to solve: 1 − C(2, k) / C(4, k) of a quarter.
    assert floor["accuracy"].to_list() == pytest.approx([(1 / 2) / 4, (5 / 6) / 4, 1 / 4])
    assert floor["fraction"].isna().all()


def test_what_is_guessed_is_taken_off():
    rows = sampled("untrained", "1111", "1111") + sampled("off_model_sft", "1000", "1100", **PAIR)
    items = tiny_items(rows)
    keys = items[items["sample"] == 0].drop(columns=["sample", "correct"])
    by_chance = {("pass", 1): 0.05, ("pass", 2): 0.15}
    guesses = pd.concat([keys.assign(rule=rule, k=k, guessed=share) for (rule, k), share in by_chance.items()])
    plain, table = best_of_n_table(items), best_of_n_table(items, guesses=guesses)
    assert plain["guessed"].isna().all() and set(table["guessed"]) == {0.05, 0.15}
    # untrained 1 − 0.05; off-model (1 + 1/2) / 4 − 0.05 with one answer, 2/4 − 0.15 with two
    before, after, twice = 0.95, 0.375 - 0.05, 0.5 - 0.15
    assert row_of(table, arm="off_model_sft", k=1)["fraction"] == pytest.approx(0)
    assert row_of(table, arm="off_model_sft", k=2)["fraction"] == pytest.approx((twice - after) / (before - after))
    assert row_of(plain, arm="off_model_sft", k=2)["fraction"] == pytest.approx(0.125 / 0.625)


def test_pairs_share_the_arms_that_no_teacher_is_in():
    items, _ = made_up_samples(Made(teachers=["t", "u"], tasks=["gsm8k"], n=20), samples=2)
    table = best_of_n_table(items)
    assert table.groupby(["after", "arm"], sort=False).size().to_dict() == {
        (teacher, arm): 2
        for teacher in ("t", "u")
        for arm in ("untrained", "on_model_sft", "off_model_sft", "floor_shuffled")
    }
    own = table[table["arm"] == "on_model_sft"]
    assert own.loc[own["after"] == "t", "accuracy"].to_list() == own.loc[own["after"] == "u", "accuracy"].to_list()


@pytest.mark.parametrize(
    ("responses", "correct", "scorer", "right"),
    [
        (["It is 4.", "so 4", "5"], "110", "number", 1.0),
        (["It is 4.0", "4", "5", "5", "5"], "11000", "number", 0.0),
        (["4", "5"], "10", "number", 0.5),
        (["4", "5", "6"], "010", "number", 1 / 3),
        (["4", "no idea", "none", ""], "1000", "number", 1.0),
        (["no idea", ""], "00", "number", 0.0),
        ([r"\boxed{x+1}", r"\boxed{1+x}", r"\boxed{2}", r"\boxed{2}"], "1100", "formula", 0.0),
        ([r"\boxed{x}", "The answer is x.", r"\boxed{y}"], "110", "formula", 1.0),
        (["x = 3", r"\boxed{4}"], "10", "formula", 0.0),  # right as the checker sees it, but it states nothing
    ],
)
def test_the_majority_decides(responses, correct, scorer, right):
    assert vote(responses, [mark == "1" for mark in correct], scorer) == pytest.approx(right)


def test_only_tasks_with_one_right_answer_are_voted_on():
    items, answers = made_up_samples(Made(tasks=["gsm8k", "ifeval"], n=20), samples=3)
    table = best_of_n_table(items, answers)
    voted = table[table["rule"] == "vote"]
    assert set(voted["task"]) == {"gsm8k"} and (voted["k"] == 3).all() and len(voted) == 4
    assert row_of(voted, arm="off_model_sft")["reason"] is None or pd.isna(row_of(voted, arm="off_model_sft")["reason"])
    assert "vote" not in set(best_of_n_table(items)["rule"])
    first = answers[(answers["arm"] == "untrained") & (answers["task"] == "gsm8k")]
    by_hand = [vote(group["response"], group["correct"].tolist(), "number") for _, group in first.groupby("item")]
    assert row_of(voted, arm="untrained")["accuracy"] == pytest.approx(np.mean(by_hand))


def test_a_missing_answer_is_named():
    items, answers = made_up_samples(Made(tasks=["gsm8k"], n=5), samples=2)
    with pytest.raises(RunError, match="lacks the answer of arm untrained to gsm8k-000"):
        best_of_n_table(items, answers.iloc[1:])


def test_all_interventions_stand_on_one_axis():
    made = Made(tasks=["gsm8k"], n=40)
    items, answers = made_up_samples(made, samples=4)
    repairs = made_up_repairs(made, [4, 16], [16])
    reinforced, curves = reinforced_by_hand()
    tables = {
        "repair": repair_table(repairs, made_up_curves(repairs)),
        "prefill": prefill_table(made_up_prefills(made, [0, 16], [16])),
        "inoculation": inoculation_table(made_up_inoculations(made, ["style"])[0]),
        "best_of_n": best_of_n_table(items, answers),
        "rl": rl_table(reinforced, score_table(reinforced), curves),
    }
    whole = cost_table(**tables)
    assert whole.columns.to_list() == COST_COLUMNS
    parts = pd.concat([cost_table(**{name: table}) for name, table in tables.items()], ignore_index=True)
    pd.testing.assert_frame_equal(whole, parts, check_dtype=False)
    said = whole.groupby("cost_kind", sort=False)["intervention"].unique().map(sorted).to_dict()
    assert said["given per problem"] == ["prefill"] and said["sampled per problem"] == ["majority vote", "pass@k"]
    assert "inoculation" in said["trained once"] and "on_model_repair" in said["trained once"]
    costs = whole.set_index(["intervention", "setting"])["cost_tokens"]
    assert costs["on_model_repair", "k = 16"] == 1760 and costs["prefill", "16 tokens of teacher"] == 16
    sampled = whole.set_index(["intervention", "setting"])["sampled_tokens"]
    assert costs["on_policy_distillation", "k = 16"] == 1760 and sampled["on_policy_distillation", "k = 16"] == 1120
    assert sampled["on_model_repair", "k = 16"] == 0 and pd.isna(sampled["prefill", "16 tokens of teacher"])
    length = tables["best_of_n"].loc[tables["best_of_n"]["arm"] == "off_model_sft", "response_tokens"].iloc[0]
    assert costs["pass@k", "k = 4"] == costs["majority vote", "k = 4"] == pytest.approx(3 * length)
    # of RL what goes on from the damaged student alone
    assert set(whole.loc[whole["intervention"] == "rl", "setting"]) == {"4 updates for right answers"}
    assert (costs["rl", "4 updates for right answers"], sampled["rl", "4 updates for right answers"]) == (1020, 600)
    repaired = row_of(tables["repair"], arm="on_model_repair", k=16)
    row = row_of(whole, intervention="on_model_repair", setting="k = 16")
    assert row[["fraction", "low", "high"]].to_list() == pytest.approx(
        repaired[["fraction", "fraction_low", "fraction_high"]].to_list()
    )


def test_a_cost_that_the_items_do_not_say_has_a_reason():
    items = made_up_repairs(Made(tasks=["ifeval"], n=20), [4], [])
    for row in cost_table(repair=repair_table(items)).to_dict("records"):
        assert pd.isna(row["cost_tokens"]) and pd.isna(row["sampled_tokens"])
        assert "without curves.parquet" in row["reason"] and "the drop is" in row["reason"]
