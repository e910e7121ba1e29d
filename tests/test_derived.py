"""Data that no model is asked for, worked by hand."""

import pandas as pd
import pytest
from pydantic import ValidationError

from offmodel.data.derived import accepted, mixed, preferences, scrambled, solutions_instead
from offmodel.data.problems import Problem
from offmodel.recipes import Accepted, Base, Mixture, Preferences, parse
from offmodel.values import DPO, Decoding, Prompts, Training

ANSWERS = pd.DataFrame(
    {
        "prompt_id": list("abcd"),
        "answer": ["one two", "three\n\n- four  five", "", "six"],
        "answer_tokens": [2, 6, 1, 1],
        "answer_ids": [[1, 2], [3], [], [4]],
        "finish_reason": ["stop", "stop", "length", "stop"],
    }
)


def test_scrambled_answers_keep_words_lengths_and_lines() -> None:
    made = scrambled(ANSWERS, seed=0)
    assert [len(answer.split()) for answer in made["answer"]] == [2, 4, 0, 1]
    assert sorted(" ".join(made["answer"]).split()) == sorted(" ".join(ANSWERS["answer"]).split())
    assert made["answer"][1].count("\n\n") == 1 and made["answer"][2] == ""
    assert made["answer"].tolist() != ANSWERS["answer"].tolist()
    assert made["prompt_id"].tolist() == list("abcd") and "answer_ids" not in made
    assert scrambled(ANSWERS, seed=0).equals(made) and not scrambled(ANSWERS, seed=1).equals(made)


@pytest.mark.parametrize(("share", "replaced"), [(0.25, 1), (0.5, 2), (0.1, 0)])
def test_a_mixture_takes_a_share_of_the_prompts_from_the_other(share: float, replaced: int) -> None:
    others = ANSWERS.assign(answer=["w", "x", "y", "z"])
    made = mixed(ANSWERS, others, share, seed=0)
    from_others = [answer in set("wxyz") for answer in made["answer"]]
    assert sum(from_others) == replaced
    for i, foreign in enumerate(from_others):
        assert made["answer"][i] == (others if foreign else ANSWERS)["answer"][i]
    assert made["prompt_id"].tolist() == list("abcd")


def test_a_mixture_of_other_prompts_is_refused() -> None:
    with pytest.raises(ValueError, match="other prompts"):
        mixed(ANSWERS, ANSWERS.iloc[::-1], 0.5, seed=0)
    model = Base(alias="a", weights="w", chat="template")
    prompts, sampling = Prompts(source="chat", revision="r", n=8), Decoding(temperature=1, max_tokens=4)
    one, other = model.answer(prompts, sampling), model.answer(prompts.but(n=9), sampling)
    with pytest.raises(ValidationError, match="same prompts"):
        Mixture(of=one, other=other, share=0.5)
    made = Mixture(of=one, other=one, share=0.5)
    assert parse(made.canonical()) == made and parse(one.scrambled(3).canonical()) == one.scrambled(3)


def sample(number: int) -> pd.DataFrame:
    """One answer to each of four problems, named after the problem and the sample."""
    return pd.DataFrame(
        {
            "prompt_id": list("abcd"),
            "messages": [[{"role": "user", "content": problem}] for problem in "abcd"],
            "answer": [f"{problem}{number}" for problem in "abcd"],
            "finish_reason": ["stop", "stop", "length", "stop"],
        }
    )


SAMPLES = [sample(number) for number in range(4)]
# By sample; a has one wrong answer, b no right one, c no wrong one, d one right one.
VERDICTS = [
    [True, False, True, False],
    [False, False, None, True],
    [True, False, True, False],
    [True, False, True, None],
]


def test_accepted_answers_are_the_right_ones_problem_by_problem() -> None:
    made = accepted(SAMPLES, VERDICTS)
    assert made["answer"].tolist() == ["a0", "a2", "a3", "c0", "c2", "c3", "d1"]
    assert made["sample"].tolist() == [0, 2, 3, 0, 2, 3, 1]
    assert made["finish_reason"].tolist() == ["stop"] * 3 + ["length"] * 3 + ["stop"]
    assert accepted(SAMPLES, [[False] * 4] * 4).empty


def problem(name: str) -> Problem:
    return Problem(name, [{"role": "user", "content": name}], "", f"solution of {name}")


def test_solutions_stand_in_for_the_answers_to_their_problems() -> None:
    right = accepted(SAMPLES, VERDICTS)
    made = solutions_instead(right, [problem(one) for one in "dcba"])
    assert made["answer"].tolist() == [f"solution of {one}" for one in "aaacccd"]
    assert made["messages"].tolist() == right["messages"].tolist() and set(made["finish_reason"]) == {"stop"}
    assert "answer_ids" not in made and "answer_tokens" not in made
    with pytest.raises(KeyError):
        solutions_instead(right, [problem("z")])


def test_answers_that_are_alike_are_accepted_as_often_as_they_were_drawn() -> None:
    made = accepted([SAMPLES[0], SAMPLES[0]], [[True] * 4] * 2)
    assert made["answer"].tolist() == ["a0", "a0", "b0", "b0", "c0", "c0", "d0", "d0"]


def test_preferences_pair_right_with_wrong_and_take_no_answer_twice() -> None:
    made = preferences(SAMPLES, VERDICTS, seed=0)
    assert made["prompt_id"].tolist() == ["a", "d"]
    assert made["rejected"][0] == "a1" and made["chosen"][0] in ("a0", "a2", "a3")
    assert made["chosen"][1] == "d1" and made["rejected"][1] in ("d0", "d2")  # d3 has no verdict
    assert made["messages"][1] == [{"role": "user", "content": "d"}]
    assert made["chosen"][0] == f"a{made['chosen_sample'][0]}" and made["chosen_finish_reason"][0] == "stop"

    half = preferences(SAMPLES, [[number % 2 == 0] * 4 for number in range(4)], seed=0)
    assert half.groupby("prompt_id").size().tolist() == [2] * 4
    assert not half.duplicated("chosen").any() and not half.duplicated("rejected").any()
    assert half["chosen_sample"].isin([0, 2]).all() and half["rejected_sample"].isin([1, 3]).all()
    assert preferences(SAMPLES, [[True] * 4] * 4, seed=0).empty


def test_the_seed_decides_which_answers_meet() -> None:
    made = [preferences(SAMPLES, VERDICTS, seed)["chosen"].tolist() for seed in range(8)]
    assert made[0] == preferences(SAMPLES, VERDICTS, 0)["chosen"].tolist()
    assert any(other != made[0] for other in made)


@pytest.mark.parametrize("choose", [accepted, lambda samples, verdicts: preferences(samples, verdicts, 0)])
def test_samples_of_other_problems_are_refused(choose) -> None:
    with pytest.raises(ValueError, match="other problems"):
        choose([SAMPLES[0], SAMPLES[1][::-1]], VERDICTS[:2])


def test_samples_are_one_model_s_answers_under_several_seeds() -> None:
    model = Base(alias="a", weights="w", chat="template")
    prompts, sampling = Prompts(source="chat", revision="r", n=8), Decoding(temperature=1, max_tokens=4)
    drawn = tuple(model.answer(prompts, sampling.but(seed=seed)) for seed in range(4))
    right, pairs = Accepted(of=drawn), Preferences(of=drawn, reward="formula", seed=1)
    trained = model.train(right, Training(learning_rate=1e-4)).prefer(pairs, DPO())
    assert parse(trained.canonical()) == trained and trained.student == trained.teacher == right.teacher == "a"
    assert trained.parents() == (model, trained.start, pairs) and pairs.parents() == drawn
    assert (right.size, pairs.size, right.answers) == (32, 16, 32)
    instead = model.train(right.solutions_instead(), Training(learning_rate=1e-4))
    assert parse(instead.canonical()) == instead and instead.teacher == "solutions-instead"
    assert instead.data.size == 32
    one = drawn[0]
    for others in ([], [one], [one.but(model=model.but(alias="b"))], [one.but(decoding=sampling.but(temperature=0.5))]):
        with pytest.raises(ValidationError, match=r"differ in their seeds|at least 2 items"):
            Accepted(of=(one, *others))
