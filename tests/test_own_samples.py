"""What is kept of a student's own answers: the builders on answers written here, judged by the real rewards."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from offmodel.builders import COMPLETIONS, PREFERENCES, Workshop
from offmodel.data.problems import load_problems, problem_revision
from offmodel.data.prompts import load_prompts
from offmodel.errors import RequestError, RunError
from offmodel.presets import load_preset
from offmodel.provenance import of_results
from offmodel.recipes import Accepted, Base, Completions, Preferences, SolutionsInstead
from offmodel.settings import Settings
from offmodel.store import Store
from offmodel.study import Study
from offmodel.training import rewards
from offmodel.values import Decoding, Prompts

N = 6
PROBLEMS = Prompts(source="arithmetic_train", revision=problem_revision("arithmetic_train"), n=N)
STUDENT = Base(alias="smollm2-135m", weights="w", chat="template")
RIGHT = "So the answer is {}."


def write_samples(store: Store, *marks: str) -> tuple[Completions, ...]:
    """A finished table of answers for each text of marks: 1 is right, 0 is wrong, e is empty."""
    samples = []
    for seed, of_sample in enumerate(marks):
        answers = {"1": RIGHT, "0": "It is 0.", "e": ""}
        rows = [
            {
                "prompt_id": problem.id,
                "messages": problem.messages,
                "answer": answers[mark].format(problem.answer),
                "answer_tokens": 5,
                "finish_reason": "stop",
            }
            for problem, mark in zip(load_problems(PROBLEMS), of_sample, strict=True)
        ]
        recipe = STUDENT.answer(PROBLEMS, Decoding(temperature=1, max_tokens=8, seed=seed))
        store.make(recipe, lambda out, _, rows=rows: pd.DataFrame(rows).to_parquet(out / COMPLETIONS), dict)
        samples.append(recipe)
    return tuple(samples)


def build(store: Store, recipe: Accepted | SolutionsInstead | Preferences) -> dict[str, Any]:
    """Make it, and say what its provenance adds."""
    with Workshop(store, Settings(runs=store.root, chunk=4)) as workshop:
        store.make(recipe, lambda out, work: workshop.build(recipe, out, work), lambda: workshop.details)
    return of_results([recipe], store)["artefacts"][recipe.id]


def test_right_answers_are_kept_and_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    recipe = Accepted(of=write_samples(store, "110000", "10100e"))
    told = build(store, recipe)
    table = pd.read_parquet(store.require(recipe) / COMPLETIONS)
    ids = [problem.id for problem in load_problems(PROBLEMS)]
    assert table["prompt_id"].tolist() == [ids[0], ids[0], ids[1], ids[2]]
    assert table["sample"].tolist() == [0, 1, 0, 1]
    assert (told["right"], told["answers"], told["without_verdict"], told["problems_without_right"]) == (4, 12, 0, 3)


def test_solutions_take_the_place_of_right_answers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    recipe = Accepted(of=write_samples(store, "110000", "10100e"))
    build(store, recipe)
    instead = recipe.solutions_instead()
    build(store, instead)
    table = pd.read_parquet(store.require(instead) / COMPLETIONS)
    problems = load_problems(PROBLEMS)
    assert table["answer"].tolist() == [problems[place].solution for place in (0, 0, 1, 2)]


def test_pairs_are_made_and_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    recipe = Preferences(of=write_samples(store, "110000", "10100e"))
    told = build(store, recipe)
    table = pd.read_parquet(store.require(recipe) / PREFERENCES)
    answers = [problem.answer for problem in load_problems(PROBLEMS)]
    assert table["chosen"].tolist() == [RIGHT.format(answer) for answer in answers[1:3]]
    assert table["rejected"].tolist() == ["It is 0."] * 2
    assert (told["pairs"], told["problems_without_pair"], told["right"]) == (2, 4, 4)


def test_an_answer_that_cannot_be_judged_is_neither_right_nor_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(completion: str, answer: str) -> float:
        raise ValueError("a stranger's text")

    store = Store(tmp_path)
    samples = write_samples(store, "1" * N, "0" * N)
    monkeypatch.setitem(rewards.REWARDS, "number", breaks)
    with pytest.raises(RunError, match=r"no problem has a right and a wrong one among smollm2-135m's 2 answers to it"):
        build(store, Preferences(of=samples))


def test_formulas_are_judged_by_math_verify(tmp_path: Path) -> None:
    store = Store(tmp_path)
    told = build(store, Preferences(of=write_samples(store, "1" * N, "0" * N), reward="formula"))
    assert (told["pairs"], told["without_verdict"]) == (N, 0)


def test_nothing_right_and_no_pair_are_one_line(tmp_path: Path) -> None:
    store = Store(tmp_path)
    samples = write_samples(store, "0" * N, "0" * N)
    for recipe, said in [
        (Accepted(of=samples), "none of smollm2-135m's 12 answers is right"),
        (Preferences(of=samples), "there is no pair to learn from; draw more answers"),
    ]:
        with pytest.raises(RunError, match=said) as caught:
            build(store, recipe)
        assert "\n" not in str(caught.value) and not store.is_done(recipe)


def test_verdicts_of_a_stopped_run_are_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, judged = Store(tmp_path), []

    def until(stop: int) -> rewards.Reward:
        def one(completion: str, answer: str) -> float:
            judged.append(answer)
            if len(judged) > stop:
                raise KeyboardInterrupt
            return rewards.number(completion, answer)

        return one

    recipe = Accepted(of=write_samples(store, "110000", "101000"))
    monkeypatch.setitem(rewards.REWARDS, "number", until(9))
    with pytest.raises(KeyboardInterrupt):
        build(store, recipe)
    assert len(judged) == 10
    judged.clear()
    monkeypatch.setitem(rewards.REWARDS, "number", until(100))
    assert build(store, recipe)["right"] == 4
    assert len(judged) == 6  # the second sample's; in its first four the run was stopped


def test_problems_are_asked_word_for_word(tmp_path: Path) -> None:
    asked = load_prompts(PROBLEMS)
    problems = load_problems(PROBLEMS)
    assert [(row["id"], row["messages"]) for row in asked] == [(one.id, one.messages) for one in problems]
    assert all(row["math"] for row in asked)


def test_a_study_draws_under_seeds_that_no_other_seed_has() -> None:
    preset = load_preset("pocket")
    studies = [Study(preset, seed) for seed in (0, 1, 2**32 - 1)]
    drawn = [study.accepted(study.students[0]).of for study in studies]
    assert [[one.decoding.seed for one in of] for of in drawn[:2]] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert {(one.decoding.temperature, one.decoding.max_tokens) for of in drawn for one in of} == {(1, 128)}
    assert len({one.id for of in drawn for one in of}) == 12
    assert drawn[0] == studies[0].preferences(studies[0].students[0]).of


def test_without_trl_a_study_with_dpo_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offmodel.training.rl.TRL", "0.0.0")
    with pytest.raises(RequestError, match="install the extra `rl`"):
        _ = Study(load_preset("pocket"), 0).dpo
