"""Completions made of other completions, worked by hand."""

import pandas as pd
import pytest
from pydantic import ValidationError

from offmodel.data.derived import mixed, scrambled
from offmodel.recipes import Base, Mixture, parse
from offmodel.values import Decoding, Prompts

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
