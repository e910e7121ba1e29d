"""From an experiment's arms to the cells of its table: which model on which task, and what is read beside them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offmodel.errors import RequestError
from offmodel.evaluation.registry import card_of, load_items, resolve_task
from offmodel.nearest import unknown
from offmodel.presets import AnswersRead, Preset, TaskSize
from offmodel.recipes import Base, Completions, Likelihood, Recipe, Scores, Scripted
from offmodel.study import Arm, Asked, Experiment, Reading, Study, TaskRequest, Yielded
from offmodel.values import Decoding


def requested_tasks(
    preset: Preset, names: Sequence[str] | None, limit: int | None, data: Path | None, about: Sequence[str] = ()
) -> list[TaskRequest]:
    """The tasks to score: those named, else the preset's (of these the ones that the experiment is about, where there
    are any), each with at most `limit` problems.

    Raises:
        RequestError: an unknown task, or items that are not where they were looked for.
    """
    sizes = {**preset.other_tasks, **preset.tasks}
    for name in sizes:
        card_of(name)  # a misspelt section would be left out without a word
    requests = []
    for name in names or [name for name in preset.tasks if name in about] or preset.tasks:
        card, size = card_of(name), sizes.get(name, TaskSize())
        asked = size.n or card.n
        if asked > card.items:
            raise RequestError(f"task '{name}' has {card.items} problems and the preset asks for {asked}; lower `n`")
        n = min(asked, limit or asked)
        load_items(name, n, data_dir=data)  # a broken or missing file is found now, not after hours of training
        decoding = Decoding(temperature=0, max_tokens=size.max_tokens or card.max_tokens)
        requests.append(TaskRequest(resolve_task(name, data), n, decoding, tuple(size.seeds)))
    return requests


def collect_arms(
    declared: Experiment, preset: Preset, seeds: Iterable[int], data: Path | None, only: Sequence[str] | None
) -> list[Arm]:
    """The arms of all seeds, each distinct one once; `untrained` always, for every difference is taken to it.

    Raises:
        RequestError: an arm in `only` that the experiment does not have, an unknown model, or a missing data set.
    """
    arms: list[Arm] = []
    for name, made, seed, parameters in _yielded(declared, preset, seeds, data):
        if not isinstance(made, Likelihood):
            arm = Arm(name, made if isinstance(made, Asked) else Asked(made), seed, parameters)
            # An untrained model is the same with every teacher and under every seed; where answers of it are drawn,
            # those of the first seed stand for all.
            if not any((a.name, a.asked, a.parameters) == (arm.name, arm.asked, arm.parameters) for a in arms):
                arms.append(arm)
    if not arms:
        raise RequestError(f"preset '{preset.name}' has no pair of two different models: add a teacher")
    names = list(dict.fromkeys(arm.name for arm in arms))
    for name in only or ():
        if name not in names:
            raise unknown("arm", name, names)
    return [arm for arm in arms if not only or arm.name in only or arm.name == "untrained"]


def collect_readings(declared: Experiment, preset: Preset, seeds: Iterable[int], data: Path | None) -> list[Reading]:
    """What the experiment measures beside its arms, for all seeds, each distinct one once."""
    readings: list[Reading] = []
    for name, made, seed, parameters in _yielded(declared, preset, seeds, data):
        if isinstance(made, Likelihood) and (found := Reading(name, made, seed, parameters)) not in readings:
            readings.append(found)
    return readings


def own_answers(preset: Preset, students: Sequence[str], seeds: Iterable[int], data: Path | None) -> list[Completions]:
    """What these untrained students say to the chat prompts, for all seeds."""
    studies = [Study(preset, seed, data, studied=tuple(students)) for seed in seeds]
    own = [student.answer(study.chat, study.sampling) for study in studies for student, _ in study.pairs]
    return list(dict.fromkeys(own))


def _yielded(
    declared: Experiment, preset: Preset, seeds: Iterable[int], data: Path | None
) -> Iterator[tuple[str, Yielded, int, dict[str, Any]]]:
    size = preset.of_script(declared.name)
    for seed in seeds:
        study = Study(preset, seed, data, tuple(size.teachers), tuple(size.students))
        for name, made, *parameters in declared.arms(study):
            yield name, made, seed, parameters[0] if parameters else {}


def floors(arms: Sequence[Arm]) -> list[Arm]:
    """Answers by rule, scored like the others: a score no better than these shows nothing.

    Where the untrained student gives several answers to a problem, each problem gets those of another one.
    """
    found = []
    for arm in arms:
        if arm.name == "untrained":
            shuffled = Scripted(behaviour="shuffled", of=arm.model)
            for rule in (Scripted(behaviour="echo"), Scripted(behaviour="constant"), shuffled):
                how = {"samples": arm.asked.samples, "temperature": arm.asked.temperature} if rule is shuffled else {}
                asked = Asked(rule, **how)
                found.append(Arm(f"floor_{rule.behaviour}", asked, arm.seed, {"student": arm.model.student}))
    return found


@dataclass(frozen=True)
class Measurement:
    """One cell of the study: an arm's scores on a task, and how likely the untrained student finds its answers."""

    arm: Arm
    task: TaskRequest
    scores: Scores
    likelihood: Likelihood | None = None

    @property
    def recipes(self) -> list[Recipe]:
        return [self.scores, *([self.likelihood] if self.likelihood else [])]


def measurements(
    arms: Sequence[Arm], tasks: Sequence[TaskRequest], reading: AnswersRead | None = None
) -> list[Measurement]:
    """Every arm on every task of its seed, and the floors of those tasks whose answers are generated.

    Raises:
        RequestError: answers to a task without generated answers are to be read.
    """
    untrained = {arm.model.student: arm.model for arm in arms if isinstance(arm.model, Base)}
    for name in reading.tasks if reading else ():
        if card_of(name).kind != "generate":
            raise RequestError(f"[reading] tasks: the answers to '{name}' are choices; name tasks with written answers")
    cells = []
    of_all_seeds = {arm.seed for arm in arms}
    for arm in [*arms, *floors(arms)]:
        for request in tasks:
            # An untrained model stands under one seed for all (`collect_arms`), and is compared with those of any.
            trained = any(not isinstance(one, Base | Scripted) for one in arm.asked.models)
            if request.seeds and not ({arm.seed} if trained else of_all_seeds) & {*request.seeds}:
                continue
            # A rule has no log-probabilities; the floor of a choice is its chance level.
            if not isinstance(arm.model, Scripted) or card_of(request.task.name).kind == "generate":
                scores = arm.asked.scores(request, arm.seed)
                read = None
                plain = arm.asked == Asked(arm.model) and not isinstance(arm.model, Scripted)
                if reading and request.task.name in reading.tasks and plain:
                    read = untrained[arm.model.student].likelihood(scores, min(reading.n, request.n))
                cells.append(Measurement(arm, request, scores, read))
    return cells


def wanted(cells: Iterable[Measurement], readings: Iterable[Reading]) -> list[Recipe]:
    """All artefacts that results are made of, but for their parents."""
    return [recipe for cell in cells for recipe in cell.recipes] + [reading.likelihood for reading in readings]
