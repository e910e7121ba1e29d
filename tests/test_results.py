"""From items to scores: counted by hand on small tables, and strict about broken ones."""

import pandas as pd
import pytest
from fixture_items import arm_rows, made_up_items, tiny_items

from offmodel import statistics as st
from offmodel.errors import RunError
from offmodel.results import ITEM_COLUMNS, level_table, parameters, score_table, write_results

BEFORE, AFTER = "1111111100", "1000000110"  # seven lost, one gained


def two_arms() -> pd.DataFrame:
    return tiny_items(
        [
            *arm_rows("untrained", BEFORE),
            *arm_rows("off_model_sft", AFTER, teacher="big", objective="sft", adapter="lora"),
            *arm_rows("floor_echo", "1000000000"),
        ]
    )


def row_of(table: pd.DataFrame, **wanted: object) -> pd.Series:
    for name, value in wanted.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def test_a_row_by_hand():
    row = row_of(score_table(two_arms()), arm="off_model_sft")
    assert (row["accuracy"], row["low"], row["high"]) == pytest.approx(st.wilson(3, 10))
    assert (row["n"], row["seeds"]) == (10, 1)
    assert pd.isna(row["seed_sd"])
    assert row["difference"] == pytest.approx(-0.5)
    assert row["difference_low"] < -0.5 < row["difference_high"]
    assert (row["lost"], row["gained"]) == pytest.approx((0.6, 0.1))
    assert row["p"] == row["p_holm"] == pytest.approx(2 * 8 / 128)  # 6 of 7 or more, both sides
    assert row["detectable"] == pytest.approx(st.detectable_drop(10, 0.7))


def test_rates_are_over_all_answers():
    items = two_arms()
    mine = items["arm"] == "off_model_sft"
    items.loc[mine, "truncated"] = [True] * 3 + [False] * 7
    items.loc[mine, "answered"] = [False] * 4 + [True] * 6
    items.loc[mine, "response_tokens"] = range(10)
    row = row_of(score_table(items), arm="off_model_sft")
    assert (row["truncated"], row["no_answer"], row["response_tokens"]) == pytest.approx((0.3, 0.4, 4.5))


def test_order_of_rows_and_other_arms_change_no_number():
    items = made_up_items(seeds=[0, 1])
    columns = ["accuracy", "low", "high", "difference", "difference_low", "difference_high", "p", "detectable"]
    whole = row_of(score_table(items), arm="off_model_sft", task="arithmetic")
    fewer = items[items["arm"].isin(["untrained", "off_model_sft"])].sample(frac=1, random_state=3)
    assert row_of(score_table(fewer), arm="off_model_sft", task="arithmetic")[columns].equals(whole[columns])


def test_the_floor_is_the_best_of_chance_and_scripts():
    table = score_table(two_arms())
    assert row_of(table, arm="untrained")[["floor", "floor_arm"]].to_list() == [0.1, "floor_echo"]
    assert not row_of(table, arm="untrained")["at_floor"]  # 8/10 against 1/10 on the same problems
    assert row_of(table, arm="off_model_sft")["at_floor"]  # 3/10 against 1/10: two problems are no difference
    chance = score_table(two_arms().assign(chance=0.25))
    assert row_of(chance, arm="untrained")["floor_arm"] == "chance"
    assert not row_of(chance, arm="untrained")["at_floor"]  # 8/10: the interval starts at 0.49
    assert row_of(chance, arm="off_model_sft")["at_floor"]


def test_a_score_of_zero_is_at_a_floor_of_zero():
    items = tiny_items(
        [*arm_rows("untrained", "1110"), *arm_rows("off_model_sft", "0000"), *arm_rows("floor_echo", "0000")]
    )
    assert row_of(score_table(items), arm="off_model_sft")["at_floor"]


def test_a_floor_belongs_to_its_student():
    rows = [*arm_rows("untrained", "1100", student="a"), *arm_rows("untrained", "1100", student="b")]
    rows += [*arm_rows("floor_shuffled", "1100", student="a"), *arm_rows("floor_echo", "1000", student="b")]
    table = score_table(tiny_items(rows))
    assert row_of(table, arm="untrained", student="a")["floor_arm"] == "floor_shuffled"
    assert row_of(table, arm="untrained", student="b")["floor_arm"] == "floor_echo"


def test_no_floor_is_known_without_chance_and_scripts():
    row = row_of(score_table(tiny_items(arm_rows("untrained", "0000"))), arm="untrained")
    assert pd.isna(row["floor"]) and not row["at_floor"]


def test_holm_runs_over_the_arms_of_one_student_and_task():
    rows = arm_rows("untrained", "1" * 9)
    rows += arm_rows("off_model_sft", "0" * 6 + "111", teacher="x")  # p = 2/64
    rows += arm_rows("off_model_sft", "0" * 8 + "1", teacher="y")  # p = 2/256
    table = score_table(tiny_items([*rows, *[row | {"task": "other"} for row in rows if row.get("teacher") != "y"]]))
    sums = table[table["task"] == "sums"].set_index("teacher")
    assert sums.loc["x", "p_holm"] == pytest.approx(2 / 64)
    assert sums.loc["y", "p_holm"] == pytest.approx(2 * 2 / 256)
    assert row_of(table, task="other", teacher="x")["p_holm"] == pytest.approx(2 / 64)


def test_the_same_scores_under_two_names_are_one_comparison():
    rows = arm_rows("untrained", "1" * 9)
    rows += arm_rows("off_model_sft", "0" * 6 + "111", scores_id="damaged")  # p = 2/64
    rows += arm_rows("prefill", "0" * 6 + "111", scores_id="damaged", tokens=0)
    rows += arm_rows("prefill", "0" * 8 + "1", scores_id="helped", tokens=4)  # p = 2/256
    table = score_table(tiny_items(rows)).set_index(["arm", "tokens"])["p_holm"]
    assert table.iloc[1:].to_list() == pytest.approx([2 / 64, 2 / 64, 2 * 2 / 256])


def test_several_seeds_are_averaged_and_paired_with_the_one_untrained_run():
    rows = arm_rows("untrained", "1110")
    rows += arm_rows("off_model_sft", "1000", seed=0) + arm_rows("off_model_sft", "0010", seed=1)
    row = row_of(score_table(tiny_items(rows)), arm="off_model_sft")
    assert (row["accuracy"], row["difference"], row["seeds"]) == (0.25, -0.5, 2)
    assert row["seed_sd"] == 0.0
    # changes of the items, twice over: -1, -2, -1, 0; of the 8 sums of signs 2 are as far out as 4
    assert row["p"] == pytest.approx(2 / 8)
    assert (row["lost"], row["gained"]) == (0.5, 0.0)


def test_seed_sd_is_that_of_the_accuracies():
    rows = [*arm_rows("off_model_sft", "1111", seed=0), *arm_rows("off_model_sft", "1100", seed=1)]
    assert score_table(tiny_items(rows))["seed_sd"].iloc[0] == pytest.approx(0.25 * 2**0.5)


def test_parameters_tell_arms_apart():
    rows = arm_rows("untrained", "1100")
    rows += arm_rows("on_model_repair", "1000", k=4) + arm_rows("on_model_repair", "1100", k=16)
    items = tiny_items(rows)
    assert parameters(items) == ["k"]
    table = score_table(items)
    assert parameters(table) == ["k"]
    assert table.loc[table["k"] == 16, "accuracy"].to_list() == [0.5]
    assert len(table) == 3
    assert parameters(items.assign(subject="algebra")) == ["k"]


def test_levels_are_paired_within_a_level():
    items = two_arms()
    items["level"] = [str(1 + i % 2) for i in range(10)] * 3
    table = level_table(items)
    assert set(table["arm"]) == {"untrained", "off_model_sft"}
    row = row_of(table, arm="off_model_sft", level="2")  # items 1, 3, 5, 7, 9: 11110 becomes 00010
    assert (row["accuracy"], row["n"]) == (0.2, 5)
    expected = st.small_sample_difference([0, 0, 0, 1, 0], [1, 1, 1, 1, 0])
    assert (row["difference"], row["difference_low"], row["difference_high"]) == pytest.approx(expected)


def test_a_table_without_levels_has_no_level_rows():
    assert level_table(two_arms()).empty


def test_written_results_read_back_the_same(tmp_path):
    items = made_up_items(seeds=[0, 1])
    table = write_results(items, tmp_path)
    again = score_table(pd.read_parquet(tmp_path / "items.parquet"))
    assert again.to_csv(index=False) == table.to_csv(index=False)
    read = pd.read_csv(tmp_path / "scores.csv")
    assert read["accuracy"].to_list() == pytest.approx(table["accuracy"].to_list(), rel=1e-5)
    first = (tmp_path / "scores.csv").read_bytes()
    write_results(items, tmp_path)
    assert (tmp_path / "scores.csv").read_bytes() == first


def test_a_missing_column_is_named():
    with pytest.raises(RunError, match="lacks the columns truncated, answered"):
        score_table(two_arms().drop(columns=["truncated", "answered"]))
    assert set(ITEM_COLUMNS) <= set(two_arms().columns)


def test_arms_must_answer_the_same_items(tmp_path):
    items = two_arms()
    short = items[~((items["arm"] == "off_model_sft") & (items["item"] == "i3"))]
    with pytest.raises(RunError, match=r"arm untrained has item i3 and arm off_model_sft .* does not"):
        write_results(short, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_seed_that_lacks_an_item_is_found():
    rows = arm_rows("off_model_sft", "1100", seed=0) + arm_rows("off_model_sft", "110", seed=1)
    with pytest.raises(RunError, match="item i3"):
        score_table(tiny_items(rows))


def test_doubled_rows_gaps_and_nothing_at_all_are_refused():
    items = two_arms()
    with pytest.raises(RunError, match="item i0 of sums twice"):
        score_table(pd.concat([items, items.head(1)]))
    with pytest.raises(RunError, match="empty 'correct' in arm untrained"):
        score_table(items.assign(correct=items["correct"].astype(object).where(items.index != 0)))
    with pytest.raises(RunError, match="no rows"):
        score_table(items.head(0))


def test_two_untrained_arms_of_a_student_are_refused():
    rows = arm_rows("untrained", "1100", k=1) + arm_rows("untrained", "1100", k=2)
    with pytest.raises(RunError, match="more than one arm 'untrained'"):
        score_table(tiny_items(rows))
