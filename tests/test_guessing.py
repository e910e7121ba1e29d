"""How often several answers are right by chance, by hand."""

from fractions import Fraction

import pandas as pd
import pytest
from fixture_items import arm_rows, tiny_items

from offmodel.guessing import drawn, guess_table, majority

# Two answers to each of three problems, whose right numbers are 1, 2 and 1.
SAID = {"i0": ["1", "so 2"], "i1": ["2", "2"], "i2": ["no", "1"]}
RIGHT = {"sums": {"i0": Fraction(1), "i1": Fraction(2), "i2": Fraction(1)}}


def items(arm: str = "off_model_sft") -> pd.DataFrame:
    rows = [row for sample in (0, 1) for row in arm_rows(arm, "000", sample=sample)]
    table = tiny_items(rows)
    said = zip(table["item"], table["sample"], strict=True)
    return table.assign(response=[SAID[str(item)][int(sample)] for item, sample in said])


def test_answers_to_the_other_problems_by_hand() -> None:
    table = guess_table(items(), RIGHT).set_index(["rule", "k", "item"])["guessed"]
    # "1" is said once of two by i2 of the others of i0, "2" once by i0 of the others of i1, "1" once by i0.
    assert table["pass", 1].to_dict() == {"i0": 1 / 4, "i1": 1 / 4, "i2": 1 / 4}
    assert table["pass", 2].to_dict() == {"i0": 1 / 2, "i1": 1 / 2, "i2": 1 / 2}
    # i0's vote is tied between 1 and 2; i1 votes 2; one of i2's says nothing, so it votes 1.
    assert table["vote", 2].to_dict() == {"i0": 1 / 2, "i1": 1 / 4, "i2": 1 / 4}


def test_it_is_of_arms_that_answered_several_times_and_of_numbers() -> None:
    both = pd.concat([items(), items("floor_shuffled")], ignore_index=True)
    assert set(guess_table(both, RIGHT)["arm"]) == {"off_model_sft"}
    assert guess_table(both, {}).empty
    once = both[both["sample"] == 0]
    assert guess_table(once, RIGHT).empty and "guessed" in guess_table(once, RIGHT)
    assert guess_table(both[both["item"] == "i0"], RIGHT).empty  # there is no other problem


def test_each_seed_and_setting_is_its_own() -> None:
    parts = [items().assign(seed=seed, updates=updates) for seed in (0, 1) for updates in (5, 10)]
    table = guess_table(pd.concat(parts, ignore_index=True), RIGHT)
    # of nine rows three are 1/4, three 1/2, and of the votes one is 1/2 and two 1/4
    assert table.groupby(["seed", "updates"])["guessed"].mean().to_list() == pytest.approx([3.25 / 9] * 4)


@pytest.mark.parametrize(
    ("stated", "shares"),
    [([1, 1, 2], {1: 1}), ([1, 2, None], {1: 0.5, 2: 0.5}), ([None, None], {}), ([], {})],
)
def test_the_most_frequent_answer_has_the_vote(stated: list[int | None], shares: dict[int, float]) -> None:
    assert majority(stated) == shares


def test_the_numbers_of_answers_that_are_told() -> None:
    assert [drawn(n) for n in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]
