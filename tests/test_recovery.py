"""The tables of repair, prefill and inoculation: counted by hand on small items, and whole on invented studies."""

import numpy as np
import pandas as pd
import pytest
from fixture_items import arm_rows, tiny_items
from fixture_recovery import (
    FRAMINGS,
    Made,
    made_up_curves,
    made_up_inoculations,
    made_up_prefills,
    made_up_repairs,
)

from offmodel import statistics as st
from offmodel.errors import RunError
from offmodel.inoculation import inoculation_table, nll_gaps
from offmodel.recovery import prefill_table, repair_table
from offmodel.results import score_table

UNTRAINED, DAMAGED, REPAIRED = "1111111100", "1100000010", "1111000010"
PAIR = {"teacher": "big", "objective": "sft", "adapter": "lora"}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def row_of(table: pd.DataFrame, **wanted: object) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def ends() -> list[dict]:
    return [*arm_rows("untrained", UNTRAINED), *arm_rows("off_model_sft", DAMAGED, **PAIR)]


def repaired(**more: object) -> list[dict]:
    own = {**PAIR, "teacher": "small", "after": "big", "k": 16}
    return arm_rows("on_model_repair", REPAIRED, **{**own, **more})


def test_a_repair_by_hand():
    row = row_of(repair_table(tiny_items(ends() + repaired())), arm="on_model_repair")
    assert (row["student"], row["after"], row["writer"], row["k"]) == ("small", "big", "small", 16)
    assert (row["untrained"], row["off_model"], row["accuracy"]) == (0.8, 0.3, 0.5)
    assert (row["accuracy"], row["low"], row["high"]) == pytest.approx(st.wilson(5, 10))
    assert row["change"] == pytest.approx(0.2) and row["difference"] == pytest.approx(-0.3)
    before, after = [int(mark) for mark in DAMAGED], [int(mark) for mark in REPAIRED]
    expected = st.paired_difference(after, before, rng())
    assert (row["change"], row["change_low"], row["change_high"]) == pytest.approx(expected)
    assert row["fraction"] == pytest.approx(0.2 / 0.5)
    assert "fewer than 6 problems changed" in row["reason"] and pd.isna(row["fraction_low"])
    assert pd.isna(row["training_tokens"])


def test_the_pair_comes_first_and_no_answers_are_off_model_sft_itself():
    table = repair_table(tiny_items(ends() + repaired()))
    assert table["arm"].to_list() == ["untrained", "off_model_sft", "on_model_repair"]
    assert table["k"].to_list()[1:] == [0, 16] and pd.isna(table["k"][0])
    assert table["fraction"].to_list() == pytest.approx([1, 0, 0.4])
    assert pd.isna(table["difference"][0]) and pd.isna(table["change"][1])


def test_seeds_are_paired_and_averaged_by_item():
    rows = [*arm_rows("untrained", UNTRAINED)]  # asked once: it is the same under every seed
    rows += arm_rows("off_model_sft", DAMAGED, seed=0, **PAIR) + arm_rows("off_model_sft", "0" * 10, seed=1, **PAIR)
    both = rows + repaired(seed=0) + repaired(seed=1)
    row = row_of(repair_table(tiny_items(both)), arm="on_model_repair")
    assert (row["seeds"], row["untrained"], row["off_model"]) == (2, 0.8, pytest.approx(0.15))
    assert row["fraction"] == pytest.approx((0.5 - 0.15) / (0.8 - 0.15))
    one = row_of(repair_table(tiny_items(rows + repaired(seed=1))), arm="on_model_repair")
    assert (one["off_model"], one["fraction"]) == (0, pytest.approx(0.5 / 0.8))  # seed 1's alone
    none = row_of(repair_table(tiny_items(rows + repaired(seed=2))), arm="on_model_repair")
    assert pd.isna(none["fraction"]) and pd.isna(none["change"]) and none["accuracy"] == 0.5
    assert "no arm off_model_sft of the same seeds" in none["reason"]
    whole = repair_table(tiny_items(both)).set_index("arm")
    assert whole.loc["untrained", "off_model"] == pytest.approx(0.15)  # under all its seeds


def test_a_fraction_without_a_drop_or_a_control_has_a_reason_instead():
    kept = [*arm_rows("untrained", UNTRAINED), *arm_rows("off_model_sft", UNTRAINED, **PAIR), *repaired()]
    row = row_of(repair_table(tiny_items(kept)), arm="on_model_repair")
    assert pd.isna(row["fraction"]) and "the drop is 0.0 points" in row["reason"]
    alone = row_of(repair_table(tiny_items(ends()[:10] + repaired())), arm="on_model_repair")
    assert "no arm off_model_sft" in alone["reason"] and alone["difference"] == pytest.approx(-0.3)


def test_each_pair_and_task_has_its_own_controls():
    items = made_up_repairs(Made(["a", "bb"], ["t", "u"], [0, 1], ["gsm8k", "ifeval"], n=20), [4, 16], [16])
    table = repair_table(items, made_up_curves(items))
    assert len(table) == 2 * 2 * 2 * (2 + 2 * 2 + 3)
    assert (table.groupby(["student", "after", "task"], sort=False).size() == 9).all()
    scores = score_table(items)
    damaged = scores[scores["arm"] == "off_model_sft"].set_index(["student", "teacher", "task"])["accuracy"]
    for _, row in table.iterrows():
        assert row["off_model"] == pytest.approx(damaged[row["student"], row["after"], row["task"]])
    repairs = table[table["arm"] == "on_model_repair"]
    assert repairs["training_tokens"].to_list() == [440.5, 1760.5] * 8  # mean of both seeds
    assert (repairs["sampled_tokens"] == 0).all()
    distilled = table[table["arm"] == "on_policy_distillation"]
    assert distilled["training_tokens"].to_list() == [440.5, 1760.5] * 8
    assert distilled["sampled_tokens"].to_list() == [280, 1120] * 8
    assert table.loc[table["k"] == 0, ["training_tokens", "sampled_tokens"]].eq(0).all(axis=None)
    parameters = scores[scores["arm"] == "on_model_repair"].set_index(["student", "after", "task", "k"])["accuracy"]
    for _, row in repairs.iterrows():
        assert row["accuracy"] == pytest.approx(parameters[row["student"], row["after"], row["task"], row["k"]])


def test_two_damaged_arms_of_a_pair_are_refused():
    rows = [*ends(), *arm_rows("off_model_sft", DAMAGED, **{**PAIR, "adapter": "full"})]
    with pytest.raises(RunError, match="more than one arm 'off_model_sft' on sums"):
        repair_table(tiny_items(rows))


def test_a_prefill_is_compared_on_the_problems_that_it_leaves_open():
    own = {**PAIR, "after": "big", "opening": "untrained", "tokens": 16}
    prefilled = arm_rows("prefill", "1111110000", **own)
    for row, away in zip(prefilled, "1010000000", strict=True):
        row["prefill_answers"] = away == "1"
    table = prefill_table(tiny_items(ends() + prefilled))
    row = row_of(table, arm="prefill")
    assert (row["n"], row["left_out"]) == (8, 2)
    # Items 1 and 3 to 9: untrained 11111100, damaged 10000010 less item 0 and 2, prefilled 11110000.
    assert (row["untrained"], row["off_model"], row["accuracy"]) == (6 / 8, 2 / 8, 4 / 8)
    assert row["fraction"] == pytest.approx((4 - 2) / (6 - 2))
    assert row_of(table, arm="untrained")["n"] == 10


def test_a_problem_given_away_under_one_seed_is_left_out_under_all():
    rows = [*arm_rows("untrained", UNTRAINED)]
    for seed in (0, 1):
        rows += arm_rows("off_model_sft", DAMAGED, seed=seed, **PAIR)
        own = arm_rows("prefill", REPAIRED, seed=seed, after="big", opening="its own", tokens=4, **PAIR)
        rows += [row | {"prefill_answers": row["item"] == f"i{seed}"} for row in own]
    row = row_of(prefill_table(tiny_items(rows)), arm="prefill")
    assert (row["n"], row["left_out"], row["seeds"]) == (8, 2, 2)
    assert row["accuracy"] == 3 / 8  # items 2, 3 and 8


def test_where_all_are_given_away_nothing_is_compared():
    own = arm_rows("prefill", REPAIRED, after="big", opening="untrained", tokens=256, prefill_answers=True, **PAIR)
    row = row_of(prefill_table(tiny_items(ends() + own)), arm="prefill")
    assert (row["n"], row["left_out"], row["reason"]) == (0, 10, "no problem is left to compare")
    assert pd.isna(row["accuracy"]) and pd.isna(row["fraction"])


def test_a_prefill_of_no_tokens_is_off_model_sft():
    table = prefill_table(made_up_prefills(Made(seeds=[0, 1], tasks=["gsm8k"], n=25)))
    nothing, damaged = row_of(table, arm="prefill", tokens=0), row_of(table, arm="off_model_sft")
    names = ["accuracy", "low", "high", "n", "seeds", "left_out", "off_model", "fraction"]
    assert nothing[names].to_list() == damaged[names].to_list()
    reversed_ = table[table["arm"] == "prefill_reversed"]
    assert reversed_["tokens"].to_list() == [4, 16, 64, 256] and reversed_["opening"].isna().all()
    assert reversed_["fraction"].notna().all()


def inoculated(trained: str, asked: str, correct: str) -> list[dict]:
    return arm_rows("inoculation", correct, **PAIR, after="big", trained_with=trained, asked_with=asked)


def test_the_four_cells_by_hand():
    rows = [*arm_rows("untrained", UNTRAINED), *inoculated("none", "none", DAMAGED)]
    rows += inoculated("style", "none", REPAIRED) + inoculated("style", "style", "0" * 10)
    rows += inoculated("none", "style", "1000000000")
    rows += arm_rows("untrained_framed", "1111000000", after="big", asked_with="style")
    table = inoculation_table(tiny_items(rows))
    assert table[["trained_with", "asked_with"]].fillna("").to_numpy().tolist() == [
        ["none", "none"], ["none", "style"], ["style", "none"], ["style", "style"], ["", "style"],
    ]  # fmt: skip
    assert table["accuracy"].to_list() == [0.3, 0.1, 0.5, 0.0, 0.4]
    assert table["difference"].to_list() == pytest.approx([-0.5, -0.7, -0.3, -0.8, -0.4])
    assert table["change"].to_list()[1:] == pytest.approx([-0.2, 0.2, -0.3, 0.1]) and pd.isna(table["change"][0])
    assert table["fraction"].to_list() == pytest.approx([0, -0.4, 0.4, -0.6, 0.2])
    assert set(table["framing"]) == {"style"} and table["nll_gap"].isna().all()


def reading(trained: str, *nats: tuple[str, int, float], seed: int = 0) -> list[dict]:
    shared = {"reading": "training_data", "after": "big", "trained_with": trained, "reader": "small", "seed": seed}
    return [shared | {"key": key, "tokens": tokens, "logprob": logprob} for key, tokens, logprob in nats]


def test_the_gap_is_of_tokens_and_its_interval_of_prompts():
    plain = reading("none", ("a", 10, -30.0), ("b", 30, -90.0)) + reading("none", ("a", 20, -50.0), seed=1)
    framed = reading("style", ("a", 10, -20.0), ("b", 30, -90.0)) + reading("style", ("a", 20, -20.0), seed=1)
    gap = nll_gaps(pd.DataFrame(plain + framed))["small", "big", "style"]
    assert gap["nll_plain"] == pytest.approx(170 / 60)
    assert gap["nll_gap"] == pytest.approx(40 / 60)
    assert (gap["nll_gap_low"], gap["nll_gap_high"], gap["prompts"]) == (0, pytest.approx(40 / 30), 2)  # b, or a, alone


def test_answers_that_were_read_otherwise_are_refused():
    plain, framed = reading("none", ("a", 10, -30.0)), reading("style", ("a", 11, -20.0))
    for rows in (plain + framed, framed):
        with pytest.raises(RunError, match="the answer to a was read otherwise with the framing 'style'"):
            nll_gaps(pd.DataFrame(rows))


def test_every_pair_and_framing_has_its_five_rows_and_its_gap():
    items, likelihoods = made_up_inoculations(Made(["a", "bb"], ["t", "u"], [0, 1], ["gsm8k"], n=20))
    table = inoculation_table(items, likelihoods)
    assert (table.groupby(["student", "after", "framing"], sort=False).size() == 5).all()
    assert len(table) == 4 * len(FRAMINGS) * 5
    gaps = table.drop_duplicates("framing").set_index("framing")["nll_gap"]
    assert gaps["style"] > gaps["suffix"] > gaps["nonsense"] > gaps["generic"] > 0
    plain = table[(table["trained_with"] == "none") & (table["asked_with"] == "none")]
    assert (plain.groupby(["student", "after"])["accuracy"].nunique() == 1).all() and (plain["fraction"] == 0).all()
    assert (table["off_model"] == table.groupby(["student", "after"])["off_model"].transform("first")).all()
