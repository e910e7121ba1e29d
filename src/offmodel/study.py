"""What a numbered script sees: students, teachers, chat prompts and settings of a preset; and what it yields: arms."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offmodel.data.prompts import load_prompts
from offmodel.data.sources import resolve
from offmodel.errors import RequestError
from offmodel.evaluation.registry import card_of, load_items, resolve_task
from offmodel.models import MODELS, model
from offmodel.nearest import unknown
from offmodel.presets import Preset, Reading, TaskSize
from offmodel.recipes import Base, Decoding, Likelihood, Model, Prompts, Recipe, Scores, Scripted, Task, Training


@dataclass(frozen=True)
class Study:
    """A preset under one seed, which decides the sampled answers, the first LoRA weights and the order of the data."""

    preset: Preset
    seed: int
    data: Path | None = None

    @property
    def pairs(self) -> list[tuple[Base, Base]]:
        """Every (student, teacher) of two different models."""
        accepted = self.preset.weights
        for alias in accepted:
            model(alias)  # a misspelt one is refused
        students, teachers = (
            [model(alias, accepted.get(alias)) for alias in aliases]
            for aliases in (self.preset.students, self.preset.teachers)
        )
        for student in students:
            if (chat := MODELS[student.alias].chat) != "template":
                how = {"in_context": "is a base model asked in context", "api": "is asked over the network"}[chat]
                raise RequestError(f"{student.alias} {how}: it can teach, and cannot be a student")
        return [(student, teacher) for student in students for teacher in teachers if student != teacher]

    @property
    def chat(self) -> Prompts:
        chat = self.preset.chat
        revision = resolve(chat.source, self.data).revision
        prompts = Prompts(source=chat.source, revision=revision, n=chat.n, seed=chat.seed, math=chat.math)
        load_prompts(prompts, self.data)  # too few, or a broken line, is found before anything is made
        return prompts

    @property
    def sampling(self) -> Decoding:
        return Decoding(**self.preset.answers.model_dump(), seed=self.seed)

    @property
    def sft(self) -> Training:
        return Training(**self.preset.sft.model_dump(), seed=self.seed)


@dataclass(frozen=True)
class Arm:
    """One condition of an experiment: a model, and the parameters that set it apart from others of the same name."""

    name: str
    model: Model
    seed: int
    parameters: dict[str, Any] = field(default_factory=dict)


Arms = Callable[[Study], Iterator[tuple[str, Model] | tuple[str, Model, dict[str, Any]]]]


@dataclass(frozen=True)
class Experiment:
    """A numbered script: its arms, the figures that are drawn from its results, and the tasks that it is about.

    Where a preset has some of these tasks, an experiment runs on them alone; without any, on all of the preset's.
    """

    number: int
    name: str
    question: str
    figures: tuple[str, ...]
    arms: Arms
    tasks: tuple[str, ...] = ()


def experiment(number: int, figures: Sequence[str] = (), tasks: Sequence[str] = ()) -> Callable[[Arms], Experiment]:
    """Declare a numbered experiment; its name is its file's, its question the first line of its docstring."""

    def declare(arms: Arms) -> Experiment:
        names = arms.__globals__
        question = (names.get("__doc__") or "").strip().partition("\n")[0]
        return Experiment(number, Path(names["__file__"]).stem, question, tuple(figures), arms, tuple(tasks))

    return declare


@dataclass(frozen=True)
class TaskRequest:
    """A task with its size in this study."""

    task: Task
    n: int
    decoding: Decoding


def requested_tasks(
    preset: Preset, names: Sequence[str] | None, limit: int | None, data: Path | None, about: Sequence[str] = ()
) -> list[TaskRequest]:
    """The tasks to score: those named, else the preset's (of these the ones that the experiment is about, where there
    are any), each with at most `limit` problems.

    Raises:
        RequestError: an unknown task, or items that are not where they were looked for.
    """
    sizes = {**preset.other_tasks, **preset.tasks}
    requests = []
    for name in names or [name for name in preset.tasks if name in about] or preset.tasks:
        card, size = card_of(name), sizes.get(name, TaskSize())
        asked = size.n or card.n
        if asked > card.items:
            raise RequestError(f"task '{name}' has {card.items} problems and the preset asks for {asked}; lower `n`")
        n = min(asked, limit or asked)
        load_items(name, n, data_dir=data)  # a broken or missing file is found now, not after hours of training
        decoding = Decoding(temperature=0, max_tokens=size.max_tokens or card.max_tokens)
        requests.append(TaskRequest(resolve_task(name, data), n, decoding))
    return requests


def collect_arms(
    declared: Experiment, preset: Preset, seeds: Iterable[int], data: Path | None, only: Sequence[str] | None
) -> list[Arm]:
    """The arms of all seeds, each distinct one once; `untrained` always, for every difference is taken to it.

    Raises:
        RequestError: an arm in `only` that the experiment does not have, an unknown model, or a missing data set.
    """
    arms: list[Arm] = []
    for seed in seeds:
        for name, made, *parameters in declared.arms(Study(preset, seed, data)):
            arm = Arm(name, made, seed, parameters[0] if parameters else {})
            # A greedy, untrained model is the same under every seed and with every teacher.
            if not any((a.name, a.model, a.parameters) == (arm.name, arm.model, arm.parameters) for a in arms):
                arms.append(arm)
    if not arms:
        raise RequestError(f"preset '{preset.name}' has no pair of two different models: add a teacher")
    names = list(dict.fromkeys(arm.name for arm in arms))
    for name in only or ():
        if name not in names:
            raise unknown("arm", name, names)
    return [arm for arm in arms if not only or arm.name in only or arm.name == "untrained"]


def floors(arms: Sequence[Arm]) -> list[Arm]:
    """Answers by rule, scored like the others: a score no better than these shows nothing."""
    found = []
    for arm in arms:
        if arm.name == "untrained":
            for behaviour in ("echo", "constant", "shuffled"):
                of = arm.model if behaviour == "shuffled" else None
                found.append(
                    Arm(
                        f"floor_{behaviour}",
                        Scripted(behaviour=behaviour, of=of),
                        arm.seed,
                        {"student": arm.model.student},
                    )
                )
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
    arms: Sequence[Arm], tasks: Sequence[TaskRequest], reading: Reading | None = None
) -> list[Measurement]:
    """Every arm on every task, and the floors of those tasks whose answers are generated.

    Raises:
        RequestError: answers to a task without generated answers are to be read.
    """
    untrained = {arm.model.student: arm.model for arm in arms if isinstance(arm.model, Base)}
    for name in reading.tasks if reading else ():
        if card_of(name).kind != "generate":
            raise RequestError(f"[reading] tasks: the answers to '{name}' are choices; name tasks with written answers")
    cells = []
    for arm in [*arms, *floors(arms)]:
        for request in tasks:
            # A rule has no log-probabilities; the floor of a choice is its chance level.
            if not isinstance(arm.model, Scripted) or card_of(request.task.name).kind == "generate":
                scores = arm.model.scores(request.task, request.n, request.decoding)
                read = None
                if reading and request.task.name in reading.tasks and not isinstance(arm.model, Scripted):
                    read = untrained[arm.model.student].likelihood(scores, min(reading.n, request.n))
                cells.append(Measurement(arm, request, scores, read))
    return cells
