"""What a numbered script sees: students, teachers, chat prompts and settings of a preset; and what it yields: arms."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from offmodel.data.framings import load_framings
from offmodel.data.problems import load_problems, problem_revision
from offmodel.data.prompts import load_prompts
from offmodel.data.sources import resolve
from offmodel.errors import RequestError
from offmodel.evaluation.registry import card_of
from offmodel.models import MODELS, add_own_models, model
from offmodel.nearest import unknown
from offmodel.presets import Preset
from offmodel.recipes import Accepted, Base, Completions, Likelihood, Model, Preferences, Prefill, Scores
from offmodel.training.rewards import check_answers
from offmodel.training.rl import require_trl
from offmodel.values import (
    DPO,
    RL,
    Decoding,
    Distillation,
    DistillationSize,
    Framing,
    Prompts,
    RewardName,
    RLSize,
    Task,
    Training,
    TrainingSize,
)


@lru_cache  # a script asks for the same ones in every arm
def _check_prompts(prompts: str, data: Path | None) -> None:
    """Find too few, or a broken line, before anything is made; the prompts in their canonical form."""
    load_prompts(Prompts.model_validate_json(prompts), data)


@lru_cache
def _answers(problems: str, data: Path | None) -> tuple[str, ...]:
    """The answers of those problems that have one; finds too few, or a broken line, as `_check_prompts` does."""
    loaded = load_problems(Prompts.model_validate_json(problems), data)
    return tuple(problem.answer for problem in loaded if problem.answer)


@dataclass(frozen=True)
class Study:
    """A preset under one seed, which decides the sampled answers, the first LoRA weights and the order of the data.

    `teachers` are those of the preset whose students are studied, and `studied` these students; all, where none is
    named.
    """

    preset: Preset
    seed: int
    data: Path | None = None
    teachers: tuple[str, ...] = ()
    studied: tuple[str, ...] = ()

    @property
    def students(self) -> list[Base]:
        """The models that are trained.

        Raises:
            RequestError: one is unknown, or can only teach.
        """
        return [self._student(alias) for alias in self.studied or self.preset.students]

    @property
    def pairs(self) -> list[tuple[Base, Base]]:
        """Every (student, teacher) of two different models."""
        teachers = [self._model(alias) for alias in self.teachers or self.preset.teachers]
        return [(student, teacher) for student in self.students for teacher in teachers if student != teacher]

    @property
    def first_pairs(self) -> list[tuple[Base, Base]]:
        """Every student with the first of its teachers."""
        first: dict[Base, Base] = {}
        for student, teacher in self.pairs:
            first.setdefault(student, teacher)
        return list(first.items())

    def _student(self, alias: str) -> Base:
        student = self._model(alias)
        if (chat := MODELS[alias].chat) != "template":
            how = {"in_context": "is a base model asked in context", "api": "is asked over the network"}[chat]
            raise RequestError(f"{alias} {how}: it can teach, and cannot be a student")
        return student

    def _model(self, alias: str) -> Base:
        add_own_models(self.preset.models)
        for accepted in self.preset.weights:
            model(accepted)  # a misspelt one is refused
        return model(alias, self.preset.weights.get(alias))

    @cached_property
    def chat(self) -> Prompts:
        chat = self.preset.chat
        revision = resolve(chat.source, self.data).revision
        prompts = Prompts(source=chat.source, revision=revision, n=chat.n, seed=chat.seed, math=chat.math)
        _check_prompts(prompts.canonical(), self.data)
        return prompts

    @property
    def sampling(self) -> Decoding:
        return Decoding(**self.preset.answers.model_dump(), seed=self.seed)

    @property
    def sft(self) -> Training:
        return Training(**self.preset.sft.model_dump(), seed=self.seed)

    @property
    def repair(self) -> Training:
        """`sft` at a constant rate: a warm-up from zero would use up the only step that a handful of answers make."""
        return self.sft.but(schedule="constant", warmup_ratio=0)

    @property
    def sft_before_rl(self) -> Training:
        """`sft`, at the rate that `[rl]` names for the damage that it goes on from."""
        return self.sft.but(learning_rate=self.preset.rl.sft_learning_rate or self.preset.sft.learning_rate)

    @property
    def distillation(self) -> Distillation:
        """How students are distilled on their own answers.

        Raises:
            RequestError: TRL is not installed.
        """
        require_trl()
        size = self.preset.distillation.model_dump(include=set(DistillationSize.model_fields))
        return Distillation(**size, seed=self.seed)

    def distils(self, student: Base) -> bool:
        """Whether a student is distilled: two of it may not fit into memory."""
        return student.alias in (self.preset.distillation.students or self.preset.students)

    @cached_property
    def problems(self) -> Prompts:
        """What students are reinforced on.

        Raises:
            RequestError: TRL is not installed, the problems are not to be found, their answers cannot be compared by
                the reward, or too few have one.
        """
        require_trl()
        size = self.preset.rl
        problems = self._problems(size.problems, size.n)
        answers = _answers(problems.canonical(), self.data)
        check_answers(size.reward, answers)
        if len(answers) < size.prompts_per_update:
            raise RequestError(
                f"an update asks {size.prompts_per_update} different problems, and {len(answers)} of "
                f"'{problems.source}' have an answer; raise n or lower prompts_per_update"
            )
        return problems

    @property
    def reasoning_students(self) -> list[Base]:
        """Those that are trained on maths problems: the preset's students, where it names no others for that."""
        return [self._student(alias) for alias in self.preset.reasoning.students] or self.students

    @cached_property
    def reasoning_problems(self) -> Prompts:
        """The problems whose solutions, or own answers, students are trained on.

        Raises:
            RequestError: they are not to be found.
        """
        return self._problems(self.preset.reasoning.problems, self.preset.reasoning.n)

    def _problems(self, source: str, n: int) -> Prompts:
        problems = Prompts(source=source, revision=problem_revision(source, self.data), n=n)
        _answers(problems.canonical(), self.data)
        return problems

    @property
    def reasoning(self) -> Training:
        """How students are trained on these."""
        return Training(**self.preset.reasoning.model_dump(include=set(TrainingSize.model_fields)), seed=self.seed)

    def accepted(self, student: Model) -> Accepted:
        """Those of a model's own answers to `reasoning_problems` that are right."""
        return Accepted(of=self._samples(student), reward=self.preset.reasoning.reward)

    def preferences(self, student: Model) -> Preferences:
        """Pairs of these that are right with those that are wrong."""
        return Preferences(of=self._samples(student), reward=self.preset.reasoning.reward, seed=self.seed)

    def _samples(self, student: Model) -> tuple[Completions, ...]:
        problems = self.reasoning_problems
        answers = _answers(problems.canonical(), self.data)
        check_answers(self.preset.reasoning.reward, answers)
        if not answers:
            raise RequestError(f"none of the {problems.n} problems of '{problems.source}' has an answer; take others")
        drawn, longest = self.preset.reasoning.drawn, self.preset.reasoning.max_tokens
        seeds = [(self.seed * drawn + number) % 2**32 for number in range(drawn)]  # no seed of a study shares any
        plain = Decoding(temperature=1, max_tokens=longest)  # as the model itself answers
        return tuple(student.answer(problems, plain.but(seed=seed)) for seed in seeds)

    @property
    def dpo(self) -> DPO:
        """How students learn from preferences.

        Raises:
            RequestError: TRL is not installed.
        """
        require_trl()
        return DPO(**self.preset.dpo.model_dump(), seed=self.seed)

    def often(self, model: Model) -> "Asked":
        """A model asked for several answers to each problem, as accuracy on mathematics is reported (avg@k)."""
        return Asked(model, samples=self.preset.reasoning.samples, temperature=self.preset.reasoning.temperature)

    def rl(self, reward: RewardName | None = None) -> RL:
        """How students are reinforced, for right answers or for another reward."""
        size = self.preset.rl.model_dump(include=set(RLSize.model_fields))
        return RL(**size, reward=reward or self.preset.rl.reward, seed=self.seed)

    def held_out(self, k: int) -> Prompts:
        """`k` chat prompts without mathematics that no student of this study was trained on.

        Raises:
            RequestError: the source has not that many left.
        """
        # Leaving prompts out keeps the order, so what follows n of the rest follows n of all: nothing is met again.
        prompts = self.chat.held_out(k).but(math=False)
        _check_prompts(prompts.canonical(), self.data)
        return prompts

    def has_weights(self, teacher: Base) -> bool:
        """Whether a teacher runs here, and so can be asked the problems of the benchmarks as students are."""
        return MODELS[teacher.alias].chat != "api"

    def third(self, student: Base, teacher: Base) -> Base | None:
        """A teacher of the preset that is neither of the two, or None."""
        others = (self._model(alias) for alias in self.preset.teachers)
        return next((other for other in others if other not in (student, teacher)), None)

    def framings(self, teacher: Base) -> dict[str, Framing]:
        """By name, the framings that are tried, with this teacher's style in them (`data.framings`).

        Raises:
            RequestError: the preset names one that does not exist, or see `load_framings`.
        """
        known, named = load_framings(teacher.alias), self.preset.inoculation.framings
        for name in named:
            if name not in known:
                raise unknown("framing", name, known)
        return {name: framing for name, framing in known.items() if name in named or not named}


@dataclass(frozen=True)
class TaskRequest:
    """A task with its size in this study, and the seeds whose students are scored on it (none: all)."""

    task: Task
    n: int
    decoding: Decoding
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A model, and how it is asked where that is not the plain way: greedy, one answer, the problem alone.

    Attributes:
        framing: put around every problem.
        opening, opening_tokens: whose answers to the same problems begin this one's, and how many tokens of them; 0 is
            the plain way.
        of_another: each problem gets the beginning of another's answer.
        samples, temperature: of each problem, and how they are drawn.
    """

    model: Model
    framing: Framing | None = None
    opening: Model | None = None
    opening_tokens: int = 0
    of_another: bool = False
    samples: int = 1
    temperature: float = 0

    @property
    def models(self) -> list[Model]:
        """Those that write the answers: the one that is asked, and the one that begins them."""
        return [self.model, *([self.opening] if self.opening is not None else [])]

    def scores(self, request: TaskRequest, seed: int) -> Scores:
        """Its scores on a task; `seed` decides samples alone.

        Raises:
            RequestError: the task cannot be asked so.
        """
        name, decoding = request.task.name, request.decoding.but(temperature=self.temperature, seed=seed)
        written = card_of(name).kind == "generate"
        if self.samples > 1 and not written:
            raise RequestError(f"answers to '{name}' are choices, the same at every try; leave it out (--tasks)")
        how: dict[str, Any] = {"framing": self.framing, "samples": self.samples}
        if self.opening is not None and self.opening_tokens:
            if not written:
                raise RequestError(f"answers to '{name}' are choices and cannot be begun; leave it out (--tasks)")
            if self.opening_tokens >= decoding.max_tokens:
                raise RequestError(
                    f"a prefill of {self.opening_tokens} tokens leaves none of the {decoding.max_tokens} of '{name}'; "
                    "raise the task's max_tokens"
                )
            source = self.opening.scores(request.task, request.n, request.decoding)
            how["prefill"] = Prefill(source=source, tokens=self.opening_tokens, of_another=self.of_another)
        return self.model.scores(request.task, request.n, decoding, **how)


@dataclass(frozen=True)
class Arm:
    """One condition of an experiment: a model, and the parameters that set it apart from others of the same name."""

    name: str
    asked: Asked
    seed: int
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        return self.asked.model


@dataclass(frozen=True)
class Reading:
    """What an experiment measures beside its arms: how likely a model finds answers."""

    name: str
    likelihood: Likelihood
    seed: int
    parameters: dict[str, Any] = field(default_factory=dict)


Yielded = Model | Asked | Likelihood
Arms = Callable[[Study], Iterator[tuple[str, Yielded] | tuple[str, Yielded, dict[str, Any]]]]


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
