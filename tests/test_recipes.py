"""Identity: a recipe's id depends on what changes its result, and on nothing else."""

import json
import subprocess
import sys
from typing import Literal

import pytest
from pydantic import ValidationError

from offmodel.errors import RequestError
from offmodel.recipes import Base, Distilled, Scripted, Trained, parse
from offmodel.values import Decoding, Distillation, Prompts, Task, Training

STUDENT = Base(alias="student", weights="sha256:1", chat="template")
TEACHER = Base(alias="teacher", weights="sha256:2", chat="template")
CHAT = Prompts(source="chat", revision="sha256:3", n=8)
SAMPLING = Decoding(temperature=1.0, max_tokens=16)
SFT = Training(learning_rate=1e-4)
TASK = Task(name="arithmetic", revision="1")
GREEDY = Decoding(temperature=0, max_tokens=16)


def trained(**changes) -> Trained:
    return STUDENT.train(TEACHER.answer(CHAT, SAMPLING), SFT.but(**changes))


def test_an_id_is_the_same_in_another_process_with_another_hash_seed() -> None:
    read = STUDENT.likelihood(trained().scores(TASK, 5, GREEDY), 3)
    code = "import sys; from offmodel.recipes import parse; print(parse(sys.stdin.read()).id)"
    for hash_seed in ("0", "7"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=read.canonical(), capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed},
        )  # fmt: skip
        assert done.stdout.strip() == read.id


def test_key_order_and_spacing_do_not_matter() -> None:
    recipe = trained()
    reversed_keys = json.dumps(dict(reversed(json.loads(recipe.canonical()).items())), indent=3)
    assert parse(reversed_keys) == recipe
    assert parse(reversed_keys).id == recipe.id


def test_whole_and_decimal_numbers_of_one_value_are_one_recipe() -> None:
    assert trained(alpha=64).id == trained(alpha=64.0).id


@pytest.mark.parametrize(
    "changes",
    [{"objective": "dft"}, {"learning_rate": 2e-4}, {"seed": 1}, {"rank": 16}, {"epochs": 2}, {"max_length": 512}],
)
def test_every_setting_of_a_training_is_part_of_its_id(changes) -> None:
    assert trained(**changes).id != trained().id


@pytest.mark.parametrize(
    ("objective", "found"), [("sft", "student.sft-teacher-5934374cf3"), ("dft", "student.dft-teacher-3bf00bfa50")]
)
def test_ids_from_before_objectives_had_parameters_stay(objective: str, found: str) -> None:
    assert trained(objective=objective).id == found
    assert "parameters" not in trained(objective=objective).canonical()


def test_a_parameter_of_an_objective_is_in_the_id_only_when_it_is_not_the_default() -> None:
    clip = trained(objective="clip")
    assert trained(objective="clip", parameters={"fraction": 0.1}) == clip
    other = trained(objective="clip", parameters={"fraction": 0.05})
    assert other.id != clip.id
    assert '"parameters":{"fraction":0.05}' in other.canonical()
    assert parse(other.canonical()) == other
    assert len({clip.label, other.label, "student.clip-teacher"}) == 1
    one, same = ({"strength": 0.3, "certainty": 0.9}, {"certainty": 0.9, "strength": 0.3})
    assert trained(objective="sed", parameters=one).id == trained(objective="sed", parameters=same).id


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"objective": "clp"}, "unknown objective 'clp'; did you mean 'clip'?"),
        ({"parameters": {"tau": 1}}, "objective 'sft' has no parameter 'tau'; it takes: none"),
        (
            {"objective": "clip", "parameters": {"fraction": 1}},
            "objective 'clip': fraction must be above 0 and below 1, found 1",
        ),
        ({"objective": "clip", "parameters": {"fraction": 0}}, "must be above 0 and below 1, found 0"),
        ({"objective": "flow", "parameters": {"tau": 0}}, "objective 'flow': tau must be above 0, found 0"),
        ({"objective": "stm", "parameters": {"perplexity": 1}}, "objective 'stm': perplexity must be above 1, found 1"),
        ({"objective": "asft", "parameters": {"kl": -0.1}}, "objective 'asft': kl must be above 0, found -0.1"),
        ({"objective": "sed", "parameters": {"certainty": 1.2}}, "certainty must be above 0 and below 1, found 1.2"),
        ({"objective": "asft", "method": "full"}, "full weights have none: set method = 'lora'"),
    ],
)
def test_an_objective_that_cannot_be_run_is_refused_in_one_line(changes, line: str) -> None:
    with pytest.raises(RequestError) as refused:
        trained(**changes)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_change_far_up_among_the_parents_changes_the_id() -> None:
    other = STUDENT.train(TEACHER.but(weights="sha256:9").answer(CHAT, SAMPLING), SFT)
    assert other.scores(TASK, 5, GREEDY).id != trained().scores(TASK, 5, GREEDY).id


def test_a_version_bump_changes_the_id_and_old_recipes_are_refused() -> None:
    class Bumped(Base):
        version: Literal[2] = 2  # type: ignore[assignment]

    fields = STUDENT.model_dump(exclude={"version"})
    assert Bumped(**fields).id != STUDENT.id
    with pytest.raises(ValidationError):
        parse(Bumped(**fields).canonical())


def test_a_greedy_decoding_has_no_seed() -> None:
    assert Decoding(temperature=0, max_tokens=4, seed=3) == Decoding(temperature=0, max_tokens=4, seed=5, top_p=0.5)
    assert Decoding(temperature=1, max_tokens=4, seed=3) != Decoding(temperature=1, max_tokens=4, seed=5)


def test_held_out_prompts_follow_those_that_were_used() -> None:
    assert CHAT.held_out(4).model_dump() == {**CHAT.model_dump(), "skip": 8, "n": 4}


def test_parents_come_from_the_base_up() -> None:
    student = trained()
    again = student.train(STUDENT.answer(CHAT, SAMPLING), SFT)
    assert again.parents() == (STUDENT, student, again.data)
    assert again.scores(TASK, 5, GREEDY).parents() == (STUDENT, student, again)


def test_a_shuffled_floor_needs_the_scores_that_it_shuffles() -> None:
    floor = Scripted(behaviour="shuffled", of=STUDENT).scores(TASK, 5, GREEDY)
    assert floor.parents() == (STUDENT.scores(TASK, 5, GREEDY),)
    with pytest.raises(ValidationError):
        Scripted(behaviour="echo", of=STUDENT)


def test_an_id_can_be_a_folder_name() -> None:
    assert set(trained().scores(TASK, 5, GREEDY).id) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_")


def distilled(**changes) -> Distilled:
    return trained().distil(CHAT, STUDENT, Distillation(prompts_per_update=4).but(**changes))


def test_a_distilled_model_needs_its_start_and_the_untrained_model_once() -> None:
    made = distilled()
    assert made.parents() == (STUDENT, trained())
    assert made.served_from == (STUDENT, trained(), made) and made.student == "student"
    assert made.label == "student.sft-teacher.distilled-student" and parse(made.canonical()) == made
    assert trained().distil(CHAT, TEACHER, Distillation()).parents() == (STUDENT, trained(), TEACHER)
    assert len({made.id, distilled(seed=1).id, distilled(epochs=2).id, made.but(prompts=CHAT.but(n=4)).id}) == 4


def test_prompts_that_fill_no_update_are_refused_in_one_line() -> None:
    assert Distillation(prompts_per_update=8, epochs=3).updates(4) == (3, 4)
    said = "8 prompts are no whole number of updates of 3; change `prompts_per_update` under"
    with pytest.raises(RequestError, match=said):
        distilled(prompts_per_update=3)
