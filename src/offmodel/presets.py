"""A preset file, checked: which models, data and settings a study runs with.

Everything in it but `[run]` changes results and so enters the recipes' ids; `[run]` never does.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo

from offmodel.errors import RequestError
from offmodel.models.own import OwnModel
from offmodel.nearest import unknown
from offmodel.paths import EXPERIMENTS, PRESETS
from offmodel.settings import Running
from offmodel.values import AnswerReward, DistillationSize, DPOSize, RLSize, Sampling, Seed, Snapshots, TrainingSize


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _once(seeds: list[int]) -> list[int]:
    if len({*seeds}) < len(seeds):
        raise ValueError("name each seed once")
    return seeds


Seeds = Annotated[list[Seed], AfterValidator(_once)]


class Chat(_Section):
    """The chat prompts that students are trained on."""

    source: Literal["chat", "alpaca"]
    n: int = Field(gt=0)
    seed: int = Field(default=0, ge=0)
    math: bool = True


class TaskSize(_Section):
    """How many problems of a task, and the limit of an answer in tokens; what is left out is the task's own default.

    `seeds` are those whose students are scored on it, all where none is named: a task at its floor shows nothing more
    with more of them.
    """

    n: int | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)
    seeds: Seeds = []


class Objectives(_Section):
    """The comparison of objectives: which (all, where none is named), at which learning rates (that of `sft`, where
    none is given), and how many held-out prompts show how much of the teacher was learned."""

    names: list[str] = []
    learning_rates: list[Annotated[float, Field(gt=0, lt=1)]] = []
    held_out: int = Field(default=200, gt=0)


class SelfDistillation(DistillationSize):
    """On-policy distillation: of which students (all, where none is named). It holds two of them in memory."""

    students: tuple[str, ...] = ()


class Reinforcement(RLSize):
    """RL: which problems (a key of `data.problems.PROBLEM_SOURCES`), how many, and which reward is the right answer;
    and the learning rate of the off-model SFT that it goes on from, that of `sft` where none is given. After a damage
    that leaves no answer right there is nothing to reinforce."""

    problems: str = "gsm8k_train"
    n: int = Field(default=7000, gt=0)
    reward: AnswerReward = "number"
    sft_learning_rate: Annotated[float, Field(gt=0, lt=1)] | None = None


class Reasoning(TrainingSize):
    """Training on maths problems: on their solutions (16), and on the student's own answers to them (17).

    The rate, the batch and the warm-up are those of the DFT paper (arXiv 2508.05629, section 4.1), as are 16 answers at
    temperature 1 to each problem of a benchmark, and 4 for offline RL.

    Attributes:
        students: where others than the preset's are trained.
        problems, n: a key of `data.problems.PROBLEM_SOURCES`, and how many of its problems.
        objectives: those that are compared.
        snapshots: optimiser steps after which the student is scored as well, for accuracy against steps.
        learning_rates, batch_sizes: of the grid; none where one of them is empty.
        samples, temperature: answers to each problem of a benchmark (avg@k), and how they are drawn.
        drawn, max_tokens: answers to each training problem that offline RL learns from, at temperature 1, and the
            limit of one in tokens.
        reward: which of these is right, as in `training.rewards`.
        online: whether GRPO, as `rl` has it, is compared with offline RL: the most expensive arm by far.
        read: solutions that are read for the probabilities of their tokens.
    """

    learning_rate: float = Field(default=5e-5, gt=0, lt=1)
    batch_size: int = Field(default=256, gt=0)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    students: tuple[str, ...] = ()
    problems: str = "gsm8k_train"
    n: int = Field(default=7000, gt=0)
    objectives: Annotated[tuple[str, ...], Field(min_length=1)] = ("sft", "dft", "iw_sft", "asft")
    snapshots: Snapshots = ()
    learning_rates: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    batch_sizes: tuple[Annotated[int, Field(gt=0)], ...] = ()
    samples: int = Field(default=16, gt=1)
    temperature: float = Field(default=1.0, gt=0, le=2)
    drawn: int = Field(default=4, gt=1)
    max_tokens: int = Field(default=1024, gt=0)
    reward: AnswerReward = "number"
    online: bool = False
    read: int = Field(default=500, gt=0)


class AnswersRead(_Section):
    """Which answers are read by the untrained student, for how likely it finds them: the first `n` of each arm."""

    tasks: Annotated[list[str], Field(min_length=1)]
    n: int = Field(gt=0)


def _beside(field: str) -> AfterValidator:
    """Of controls that are asked for: each must stand beside an arm, those of the field that is named."""

    def check(controls: list[int], others: ValidationInfo) -> list[int]:
        arms = others.data.get(field, controls)
        if alone := sorted({*controls} - {*arms}):
            raise ValueError(f"controls {alone} stand beside no arm: the arms are {arms}")
        return controls

    return AfterValidator(check)


class Repair(_Section):
    """On-model repair: on how many of its own answers a student is trained, and at which of these numbers the controls
    are."""

    sizes: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=1)] = [4, 16, 64, 256, 1024]
    controls: Annotated[list[Annotated[int, Field(gt=0)]], _beside("sizes")] = [4, 16, 64, 256, 1024]


class Openings(_Section):
    """Prefilling: how many tokens of another answer are given, and with how many the controls."""

    tokens: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = [0, 4, 16, 64, 256]
    controls: Annotated[list[Annotated[int, Field(gt=0)]], _beside("tokens")] = [4, 16, 64, 256]


class Inoculation(_Section):
    """Which framings of `data/prompts/inoculation.toml` are tried; all, where none is named."""

    framings: list[str] = []


class BestOfN(_Section):
    """How many answers are drawn of each problem, and at which temperature."""

    samples: int = Field(default=64, gt=1)
    temperature: float = Field(default=0.7, gt=0, le=2)


class ScriptSize(_Section):
    """What a numbered script runs with, where that is less (or more) than the whole preset."""

    seeds: Seeds = []
    students: list[str] = []
    teachers: list[str] = []
    tasks: list[str] = []


class Preset(_Section):
    """One study size: models, data, training, tasks."""

    name: str
    description: str
    students: Annotated[list[str], Field(min_length=1)]
    teachers: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[Seeds, Field(min_length=1)]
    chat: Chat
    answers: Sampling
    sft: TrainingSize
    tasks: dict[str, TaskSize] = Field(description="The tasks of the preset, in order")
    weights: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(
        default={}, description="By model: the sha256 of a weights file that is accepted instead of the registered one"
    )
    models: dict[str, OwnModel] = Field(default={}, description="Models that are not registered, by the name they get")
    other_tasks: dict[str, TaskSize] = Field(default={}, description="Sizes for tasks that are run only when asked for")
    scripts: dict[str, ScriptSize] = Field(default={}, description="By the name of a numbered script")
    repair: Repair = Repair()
    distillation: SelfDistillation = SelfDistillation()
    openings: Openings = Openings()
    inoculation: Inoculation = Inoculation()
    best_of_n: BestOfN = BestOfN()
    objectives: Objectives = Objectives()
    rl: Reinforcement = Reinforcement()
    reasoning: Reasoning = Reasoning()
    dpo: DPOSize = DPOSize()
    reading: AnswersRead | None = None
    run: Running = Running()

    def of_script(self, name: str) -> ScriptSize:
        """The seeds, students, teachers and tasks (none: those it is about) of a numbered script, or of one's own.

        Raises:
            RequestError: `scripts` names one that does not exist, or a model that the preset does not have.
        """
        known = sorted({script.stem for script in EXPERIMENTS.glob("[0-9]*.py")} | {name})
        for script, size in self.scripts.items():
            if script not in known:
                raise RequestError(f"[scripts] {unknown('script', script, known)}")
            _known("student", size.students, self.students, f"scripts.{script}")
            _known("teacher", size.teachers, self.teachers, f"scripts.{script}")
        _known("student", self.distillation.students, self.students, "distillation")
        size = self.scripts.get(name, ScriptSize())
        return ScriptSize(
            seeds=size.seeds or self.seeds,
            students=size.students or self.students,
            teachers=size.teachers or self.teachers,
            tasks=size.tasks,
        )


def _known(kind: str, names: Sequence[str], known: list[str], section: str) -> None:
    for name in names:
        if name not in known:
            raise RequestError(f"[{section}] {unknown(kind, name, known)}")


def load_preset(name: str, folder: Path = PRESETS) -> Preset:
    """Read `<folder>/<name>.toml`, or the file itself where the name ends in .toml.

    Raises:
        RequestError: no such preset, broken TOML, or a field that is unknown, missing or out of range.
    """
    path = Path(name) if name.endswith(".toml") else folder / f"{name}.toml"
    if not path.is_file():
        if name.endswith(".toml"):
            raise RequestError(f"there is no file {path}; give the path of a preset, or the name of a registered one")
        raise unknown("preset", name, sorted(found.stem for found in folder.glob("*.toml")))
    try:
        return Preset.model_validate({"name": path.stem, **tomllib.loads(path.read_text(encoding="utf-8"))})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: not valid TOML ({error})") from error
    except ValidationError as error:
        raise RequestError(f"{path}: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    # A misspelt field is also a missing one; the misspelling says more.
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    *section, field = problem["loc"] or ("",)
    where = f"[{'.'.join(map(str, section))}] " if section else ""
    if problem["type"] == "extra_forbidden":
        fields = _fields_at(section)
        return f"{where}{unknown('field', str(field), fields)}"
    if problem["type"] == "missing":
        return f"{where}{field}: Field required"
    said = problem["msg"].removeprefix("Value error, ")
    return f"{where}{field}: {said}, found {problem['input']!r}"


def _fields_at(section: list[Any]) -> list[str]:
    if not section:
        return list(Preset.model_fields)
    if section[0] in ("tasks", "other_tasks"):
        return list(TaskSize.model_fields)
    if section[0] == "models":
        return list(OwnModel.model_fields)
    if section[0] == "scripts":
        return list(ScriptSize.model_fields)
    annotation = Preset.model_fields[str(section[0])].annotation
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return [field for kind in kinds if issubclass(kind, BaseModel) for field in kind.model_fields]
