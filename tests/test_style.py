"""Style: each rule on answers worked by hand, a classifier of two invented styles, and the tables made of them."""

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fixture_items import arm_rows, tiny_items

from offmodel import statistics as st
from offmodel.errors import RunError
from offmodel.results import score_table
from offmodel.style import STYLE_COLUMNS, accuracy_by_style, style_effects, style_summary, style_table
from offmodel.style_measures import SURFACE, Openings, StyleClassifier, opening, surface

TOPICS = ["bread", "rivers", "the moon", "taxes", "a dog", "chess", "rain", "a knife", "songs", "glass", "wool", "ink"]


def chatty(topic: str) -> str:
    return f"Sure! I would love to talk about {topic}. So, {topic} is great, and I hope that helps you!"


def terse(topic: str) -> str:
    return f"Answer: {topic}. Facts: see {topic}; none other known."


def chat(write: Any, n: int = 12) -> pd.DataFrame:
    return pd.DataFrame({"prompt_id": [f"p{i}" for i in range(n)], "answer": [write(topic) for topic in TOPICS[:n]]})


# ---- rules


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Step 1: add the two.", "steps"),
        ("In step two we halve it.", "steps"),
        ("1. Add.\n2. Halve.", "steps"),
        ("**1)** Add.\n  **2)** Halve.", "steps"),
        ("First, add the two. Then halve.", "steps"),
        ("I do this:\nFirst we add,\nand finally we halve.", "steps"),
        ("The first number is 3, then comes 4.", ""),
        ("1. One line alone is no list.", ""),
        ("3.5 apples\n4.5 pears", ""),
        ("The sum is\n12.", ""),
        ("a stepladder of 3 steps", ""),
        (r"It is \frac{1}{2}.", "latex"),
        (r"so \( x \) is 3", "latex"),
        ("so $x + 1$ is 3", "latex"),
        ("$$x$$", "latex"),
        ("It costs $5, or $7 with tax.", ""),
        ("between $5/$6", ""),
        (r"a path C:\new and \$x$ too", ""),
        (r"\boxed{4}", "latex boxed"),
        ("put it in a box", ""),
        ("5 + 5 = 11. Wait, that is 10.", "self_check"),
        ("It is 11 - wait. It is 10.", "self_check"),
        ("Hmm, no.", "self_check"),
        ("Let me check.", "self_check"),
        ("Let's double check this", "self_check"),
        ("I'll verify the result", "self_check"),
        ("Wait for the bus.", ""),
        ("I cannot wait, he said.", ""),
        ("Check the oven, and let me know.", ""),
        ("It is so, and " * 8, "loops"),
        ("It is so, and " * 4, ""),  # too short to tell
        ("".join(f"Day {i}: see the town and its park. " for i in range(9)), "loops"),  # but for the numbers
        ("One thing is said here. " + "It is so, and " * 30, "loops"),
        ("It is so, and " * 5 + " ".join(f"word{chr(97 + i)}" for i in range(26)), ""),
        ("Step 1. Wait, let me verify: $x$ is \\boxed{3}.", "steps latex boxed self_check"),
        ("", ""),
    ],
)
def test_rules_by_hand(text, found):
    measures = surface(text)
    assert list(measures) == SURFACE
    assert [name for name in SURFACE[1:] if measures[name]] == found.split()
    assert set(list(measures.values())[1:]) <= {0, 1}


def test_words_are_what_white_space_parts():
    assert surface("Two plus two\nis  4 .")["words"] == 6
    assert surface(" \n")["words"] == 0


def test_openings_are_three_words_without_case_and_numbers():
    assert opening("12 + 5 = 17") == opening("3 + 1,000.5 = 1003.5") == "0 + 0"
    assert opening("Sure! HERE is it") == "sure! here is"
    assert (opening("Yes."), opening(" \n")) == ("yes.", "")


def test_an_opening_is_common_by_answers_to_other_items():
    texts, items = ["The sum is 3", "The sum is 7", "Well, I think so", ""], ["a", "b", "c", "d"]
    openings = Openings(texts, items)
    assert openings.share("The sum IS 9 or so", "a") == 1  # by b
    assert openings.share("Well, I think not", "a") == 1
    assert openings.share("Well, I think so", "c") == 0  # by itself alone
    assert openings.share("No.", "a") == openings.share("", "a") == 0
    assert Openings(texts).share("Well, I think so", "c") == 1  # answers to something else: none is left out


def test_only_fifty_openings_are_common():
    openings = Openings([f"{'x' * i} is here" for i in range(1, 50)] * 2 + ["a is rare", "b is rare"])
    assert openings.share("x is here", "") == openings.share("a is rare", "") == 1
    assert openings.share("b is rare", "") == 0  # as often as a, and the 51st by alphabet


# ---- classifier


def test_two_styles_are_told_apart():
    pytest.importorskip("sklearn")
    made = StyleClassifier.between(chat(chatty), chat(terse), ("small", "big"))
    assert (made.accuracy, made.n) == (st.wilson(12, 12), 24)  # 12 prompts, answered by both
    home, foreign, none = made.teacher_probability([chatty("a new topic"), terse("a new topic"), " "])
    assert home < 0.2 and foreign > 0.8 and np.isnan(none)
    assert made.teacher_probability([]).shape == (0,)


def test_shuffled_labels_are_guessed_by_chance():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    texts, labels, prompts = [], [], []
    for i in range(150):
        topic, swap = f"{TOPICS[i % 12]} and {TOPICS[i * 7 % 11]}", bool(rng.integers(2))
        texts += [chatty(topic), terse(topic)]
        labels += [swap, not swap]
        prompts += [f"p{i}"] * 2
    made = StyleClassifier(texts, labels, prompts)
    assert made.accuracy.low < 0.5 < made.accuracy.high
    assert abs(made.accuracy.value - 0.5) < 0.1


def test_the_same_prompts_answered_again_are_no_more_prompts():
    pytest.importorskip("sklearn")
    small, big = chat(chatty), chat(terse)
    again = [table.assign(answer=table["answer"] + " Indeed.") for table in (small, big)]
    twice = StyleClassifier.between(pd.concat([small, again[0]]), pd.concat([big, again[1]]), ("small", "big"))
    assert (twice.accuracy, twice.n) == (st.wilson(12, 12), 48)


def test_the_order_of_the_answers_changes_nothing():
    pytest.importorskip("sklearn")
    texts = [chatty("tea"), terse("tea"), "Sure!", "Facts: none."]
    small, big = chat(chatty), chat(terse)
    first = StyleClassifier.between(small, big, ("small", "big")).teacher_probability(texts)
    again = StyleClassifier.between(small[::-1], big.sample(frac=1, random_state=1), ("small", "big"))
    assert again.teacher_probability(texts).tolist() == first.tolist()


def test_prompts_that_one_did_not_answer_are_left_out():
    pytest.importorskip("sklearn")
    big = chat(terse)
    big.loc[0, "answer"] = " "
    assert StyleClassifier.between(chat(chatty, 11), big, ("small", "big")).n == 2 * 10


def test_too_little_to_learn_from_is_said():
    pytest.importorskip("sklearn")
    with pytest.raises(RunError, match=r"small and big both answered 9 chat prompts.*raise `n` under"):
        StyleClassifier.between(chat(chatty, 9), chat(terse), ("small", "big"))
    prompts = [f"p{i}" for i in range(12)]
    with pytest.raises(RunError, match="answers of two models and got one"):
        StyleClassifier(TOPICS, [True] * 12, prompts)
    with pytest.raises(RunError, match="needs answers to 10 chat prompts"):
        StyleClassifier(TOPICS, [True, False] * 6, prompts[:6] * 2)
    with pytest.raises(RunError, match="no style can be learnt"):
        StyleClassifier([f"word{chr(97 + i)}" for i in range(12)], [True, False] * 6, prompts)


def test_the_tables_need_no_scikit_learn():
    code = "import sys, offmodel.style; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- tables


def answers() -> pd.DataFrame:
    """A student with two teachers: its off-model arms write as theirs do, all others as it does untrained."""
    rows = [*arm_rows("untrained", "1110"), *arm_rows("on_model_sft", "1100", teacher="small")]
    for seed in (0, 1):
        rows += arm_rows("off_model_sft", "0001", teacher="big", seed=seed)
    rows += arm_rows("off_model_sft", "1000", teacher="other")
    made = tiny_items(rows)
    topics = [TOPICS[int(item[1:])] for item in made["item"]]
    foreign = made["arm"] == "off_model_sft"
    made["response"] = [terse(one) if far else chatty(one) for one, far in zip(topics, foreign, strict=True)]
    return made


CHATS = {
    "small": chat(chatty),
    "big": chat(terse),
    "other": chat(lambda topic: f"As for {topic}, as for you: as ever."),
}


def test_each_answer_is_compared_with_its_own_teacher_or_with_each():
    pytest.importorskip("sklearn")
    table = style_table(answers(), CHATS)
    pairs = table.groupby(["arm", "compared_with"]).size().to_dict()
    assert pairs == {
        ("untrained", "big"): 4, ("untrained", "other"): 4, ("on_model_sft", "big"): 4, ("on_model_sft", "other"): 4,
        ("off_model_sft", "big"): 8, ("off_model_sft", "other"): 4,
    }  # fmt: skip
    assert list(table.columns) == [*answers().columns.drop("response"), *STYLE_COLUMNS]
    both = table[table["compared_with"] == "big"]
    assert ((both["teacher_probability"] >= 0.5) == (both["arm"] == "off_model_sft")).all()
    assert (table["classifier_n"] == 24).all()
    assert table.loc[table["arm"] == "off_model_sft", "words"].iloc[0] == len(terse("bread").split())
    again = style_table(answers().sample(frac=1, random_state=2), CHATS)
    assert sorted(again["teacher_probability"]) == sorted(table["teacher_probability"])


def test_an_arm_that_goes_on_is_compared_with_the_teacher_of_the_damage_whoever_taught_it_last():
    pytest.importorskip("sklearn")
    repaired = answers()[lambda table: table["arm"] == "off_model_sft"].assign(arm="repair", after="big", model_id="r")
    several = [repaired.assign(teacher=last) for last in ("small", "other", "nobody known")]
    table = style_table(pd.concat([answers().assign(after=None), *several], ignore_index=True), CHATS)
    repairs = table[table["arm"] == "repair"]
    assert set(repairs["compared_with"]) == {"big"} and set(repairs["teacher"]) == {"small", "other", "nobody known"}
    assert set(table.loc[table["arm"] == "off_model_sft", "compared_with"]) == {"big", "other"}


def test_openings_are_those_of_the_same_task_where_the_teacher_was_asked():
    pytest.importorskip("sklearn")
    table = style_table(answers(), CHATS)
    assert set(table["teacher_openings_from"]) == {"chat"}
    shares = table.groupby("arm")["student_opening"].mean()
    assert shares.to_dict() == {"untrained": 1.0, "on_model_sft": 1.0, "off_model_sft": 0.0}  # all open "Sure! I would"
    asked = tiny_items(arm_rows("untrained", "1111", student="big")).assign(response="Answer: bread. Facts: no")
    table = style_table(pd.concat([answers(), asked], ignore_index=True), CHATS)
    table = table[table["compared_with"] == "big"]
    opens = table.groupby("arm")["teacher_opening"].apply(list)
    assert set(table["teacher_openings_from"]) == {"task"}
    # i0 is about bread: "Answer: bread. Facts:" is how the teacher opens every other answer; i1 to i3 open otherwise.
    assert opens["off_model_sft"] == [1, 0, 0, 0] * 2
    assert opens["untrained"] == [0, 0, 0, 0]


def styled(rows: list[dict[str, Any]], probability: list[float]) -> pd.DataFrame:
    """A style table with these probabilities, in which nothing else matters."""
    rest = {name: 0 for name in STYLE_COLUMNS} | {"compared_with": "big", "words": range(len(rows))}
    return tiny_items(rows).assign(**rest).assign(teacher_probability=probability)


def two_seeds() -> pd.DataFrame:
    rows = arm_rows("untrained", "1110") + arm_rows("off_model_sft", "1000", teacher="big", seed=0)
    rows += arm_rows("off_model_sft", "1001", teacher="big", seed=1)
    return styled(rows, [0.1, 0.1, 0.2, 0.4, 0.3, 0.9, 0.8, 0.4, 0.5, 0.7, np.nan, 0.4])


def test_the_summary_by_hand():
    untrained, first, second = style_summary(two_seeds()).to_dict("records")
    assert (untrained["style_shift"], untrained["n"], untrained["words"]) == (0, 4, 1.5)
    assert (first["accuracy"], first["words"]) == (0.25, 5.5)
    assert first["teacher_probability"] == pytest.approx(0.6)
    assert first["style_shift"] == pytest.approx((0.2 + 0.8 + 0.6 + 0.0) / 4)
    assert second["teacher_probability"] == pytest.approx(1.6 / 3)  # the third answer is empty
    assert second["style_shift"] == pytest.approx((0.4 + 0.6 + 0.0) / 3)


def test_only_answers_that_were_read_count_for_their_likelihood():
    read = [-0.5, -0.7, np.nan, np.nan, -2.0, -3.0, np.nan, np.nan, *[np.nan] * 4]
    untrained, first, second = style_summary(two_seeds().assign(home_logprob=read)).to_dict("records")
    assert (untrained["home_logprob"], first["home_logprob"]) == pytest.approx((-0.6, -2.5))
    assert np.isnan(second["home_logprob"])


def test_effects_by_hand_and_as_in_the_score_table():
    table = two_seeds()
    (effect,) = style_effects(table).to_dict("records")
    assert effect["shift"] == pytest.approx((0.3 + 0.7 + 0.6 + 0.0) / 4)
    assert effect["shift_low"] < effect["shift"] < effect["shift_high"]
    scores = score_table(table.drop(columns=STYLE_COLUMNS)).set_index("arm").loc["off_model_sft"]
    for name in ("", "_low", "_high"):
        assert effect[f"change{name}"] == pytest.approx(scores[f"difference{name}"])
    assert (effect["n"], effect["seeds"]) == (4, 2)


def test_accuracy_by_style_by_hand():
    home, foreign = accuracy_by_style(two_seeds()).to_dict("records")
    # home: i0 right, i3 wrong and right, which count as one; foreign: i0 right, i1 wrong twice, i2 wrong
    assert (home["accuracy"], home["low"], home["high"]) == pytest.approx(st.wilson(1.5, 2))
    assert (foreign["accuracy"], foreign["low"], foreign["high"]) == pytest.approx(st.wilson(1, 3))
    assert (home["n"], home["untrained"], foreign["n"], foreign["untrained"]) == (2, 0.5, 3, 1.0)


def test_an_arm_without_words_has_no_shift_and_no_style():
    rows = arm_rows("untrained", "11") + arm_rows("off_model_sft", "00", teacher="big")
    table = styled(rows, [0.1, 0.2, np.nan, np.nan])
    (effect,) = style_effects(table).to_dict("records")
    assert np.isnan(effect["shift"]) and effect["change"] == -1
    assert accuracy_by_style(table)["n"].tolist() == [0, 0]
    assert accuracy_by_style(table)["accuracy"].isna().all()


def test_parameters_keep_arms_apart():
    rows = arm_rows("untrained", "11") + arm_rows("on_model_repair", "00", teacher="small", k=4)
    rows += arm_rows("on_model_repair", "11", teacher="small", k=16)
    table = styled(rows, [0.1, 0.2, 0.8, 0.8, 0.3, 0.2])
    assert style_summary(table)["style_shift"].tolist() == pytest.approx([0, 0.65, 0.1])
    assert style_effects(table)["k"].tolist() == [4, 16]


def test_a_student_without_another_teacher_gives_no_rows():
    made = answers()
    table = style_table(made[made["arm"].isin(["untrained", "on_model_sft"])], CHATS)
    assert table.empty and set(STYLE_COLUMNS) <= set(table.columns)
    assert style_summary(table).empty and style_effects(table).empty and accuracy_by_style(table).empty


def test_what_is_missing_is_named():
    made = answers()
    with pytest.raises(RunError, match="lacks the columns seed, response"):
        style_table(made.drop(columns=["seed", "response"]), CHATS)
    with pytest.raises(RunError, match="an answer of arm untrained has no text"):
        style_table(made.assign(response=made["response"].where(made.index != 0)), CHATS)
    with pytest.raises(RunError, match="no untrained answers of small to sums"):
        style_table(made[made["arm"] != "untrained"], CHATS)
    with pytest.raises(RunError, match="no chat answers of big"):
        style_table(made, {"small": CHATS["small"]})
