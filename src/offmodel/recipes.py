"""The vocabulary: models, data sets of completions and scores as small frozen values that say how each is made.

A recipe holds only what changes its result. Its id is a readable name plus a hash of its canonical JSON, parents
included, so the same recipe in two experiments is one artefact. A change of meaning in the code that makes an artefact
bumps the `version` of its recipe. How it is run (engine, devices, folders) is kept in `offmodel.settings`.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationInfo, field_validator, model_validator

from offmodel.objective_names import check_objective, given_parameters


class Value(BaseModel):
    """A frozen value with a canonical JSON form (sorted keys, no spaces, every field written out)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def canonical(self) -> str:
        """The JSON text that is hashed; equal values give equal texts in every process."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def but(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return type(self).model_validate({**self.model_dump(), **changes})


Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every random generator in use takes


class Sampling(Value):
    """How answers are drawn, but for the seed."""

    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(gt=0)


class Decoding(Sampling):
    """How answers are sampled. Temperature 0 is greedy, for which seed and top_p mean nothing and are normalised."""

    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _greedy_has_no_seed(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("temperature") == 0:
            return {**data, "seed": 0, "top_p": 1.0}
        return data


class TrainingSize(Value):
    """How a student is trained, but for the objective and the seed.

    Lengths are in the student's tokens; `batch_size` counts examples for each optimiser step over all devices. The
    constants' sources stand beside them in the presets.
    """

    method: Literal["lora", "full"] = "lora"
    rank: int = Field(default=32, gt=0, le=1024)
    alpha: float = Field(default=64, gt=0)
    learning_rate: float = Field(gt=0, lt=1)
    epochs: float = Field(default=1, gt=0)
    batch_size: int = Field(default=8, gt=0)
    max_length: int = Field(default=1024, gt=1)
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)


class Training(TrainingSize):
    """How a student is trained: with an objective of `offmodel.objective_names`, on those `parameters` of it that are
    not at their default. Without any the field is not written at all, so that an objective may get a new one and keep
    its ids.

    Raises:
        RequestError: an unknown objective, or one that cannot be run with these parameters or this method.
    """

    objective: str = "sft"
    parameters: dict[str, float] = Field(default={}, exclude_if=lambda given: not given)
    seed: Seed = 0

    @field_validator("parameters")
    @classmethod
    def _without_defaults(cls, given: dict[str, float], others: ValidationInfo) -> dict[str, float]:
        return given_parameters(others.data.get("objective", ""), given)

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        check_objective(self.objective, self.parameters, self.method)
        return self


class Prompts(Value):
    """`n` chat prompts of a source in an order drawn by `seed`, the first `skip` left out.

    `revision` names the source's bytes (a commit of the hub, or the digest of a file), so that an edited file or
    another mirror is another data set. Prompts are cheap to load and are not stored as artefacts.
    """

    source: str
    revision: str
    n: int = Field(gt=0)
    seed: int = Field(default=0, ge=0)
    skip: int = Field(default=0, ge=0)
    math: bool = Field(default=True, description="False leaves out prompts that ask for mathematics")

    def held_out(self, k: int) -> "Prompts":
        """The `k` prompts after these: never seen by a student trained on these."""
        return self.but(skip=self.skip + self.n, n=k)


class Recipe(Value):
    """A value that is made by work and kept on disk as one artefact."""

    @property
    def label(self) -> str:
        """The readable part of the id; nothing is ever parsed back out of it."""
        raise NotImplementedError

    @property
    def id(self) -> str:
        return f"{self.label}-{hashlib.sha256(self.canonical().encode()).hexdigest()[:10]}"

    def parents(self) -> tuple["Recipe", ...]:
        """The artefacts that must be there before this one can be made."""
        return ()


class _Model(Recipe):
    """What every model can do: answer prompts, be trained, be scored. Each call only describes the work."""

    @property
    def student(self) -> str:
        """Alias of the untrained model that this one started as."""
        raise NotImplementedError

    @property
    def served_from(self) -> tuple[Recipe, ...]:
        """The artefacts that its weights are put together from, the base first."""
        return (self,)

    def answer(self, prompts: Prompts, decoding: Decoding, system: str | None = None) -> "Completions":
        return Completions(model=self, prompts=prompts, decoding=decoding, system=system)  # type: ignore[arg-type]

    def train(self, data: "Completions", training: Training) -> "Trained":
        return Trained(start=self, data=data, training=training)  # type: ignore[arg-type]

    def scores(self, task: "Task", n: int, decoding: Decoding, draw_seed: int = 0) -> "Scores":
        return Scores(model=self, task=task, n=n, draw_seed=draw_seed, decoding=decoding)  # type: ignore[arg-type]


class Base(_Model):
    """An untrained model. `weights` and `chat` pin the bytes and the prompt format behind the alias."""

    kind: Literal["base"] = "base"
    version: Literal[1] = 1
    alias: str
    weights: str
    chat: str

    @property
    def label(self) -> str:
        return self.alias

    @property
    def student(self) -> str:
        return self.alias


class Trained(_Model):
    """A model trained on completions, starting from another model."""

    kind: Literal["trained"] = "trained"
    version: Literal[1] = 1
    start: "Model"
    data: "Completions"
    training: Training

    @property
    def label(self) -> str:
        return f"{self.start.label}.{self.training.objective}-{self.teacher}"

    @property
    def student(self) -> str:
        return self.start.student

    @property
    def teacher(self) -> str:
        """Alias of the model that wrote the training data."""
        return self.data.model.student

    @property
    def served_from(self) -> tuple[Recipe, ...]:
        return (*self.start.served_from, self)

    def parents(self) -> tuple[Recipe, ...]:
        return (*self.start.served_from, self.data)


class Scripted(_Model):
    """No model at all: answers by rule, to measure the floor of a scorer.

    `echo` repeats the prompt, `constant` always says the same short sentence, `shuffled` gives each problem the answer
    that `of` gave to another problem.
    """

    kind: Literal["scripted"] = "scripted"
    version: Literal[1] = 1
    behaviour: Literal["echo", "constant", "shuffled"]
    of: "Model | None" = None

    @model_validator(mode="after")
    def _only_shuffled_has_a_model(self) -> Self:
        if (self.behaviour == "shuffled") != (self.of is not None):
            raise ValueError("`of` is the model whose answers are shuffled: give it for `shuffled` and only there")
        return self

    @property
    def label(self) -> str:
        return self.behaviour if self.of is None else f"{self.behaviour}-{self.of.label}"

    @property
    def student(self) -> str:
        return self.behaviour if self.of is None else self.of.student


class Completions(Recipe):
    """A model's answers to prompts: one answer for each prompt, with token counts and the reason it ended."""

    kind: Literal["completions"] = "completions"
    version: Literal[1] = 1
    model: "Model"
    prompts: Prompts
    decoding: Decoding
    system: str | None = None

    @property
    def label(self) -> str:
        return f"{self.model.label}.{self.prompts.source}{self.prompts.n}"

    def parents(self) -> tuple[Recipe, ...]:
        return self.model.served_from


class Task(Value):
    """A benchmark by name, with the revision of its items and of its scorer."""

    name: str
    revision: str


class Scores(Recipe):
    """A model's answers to `n` problems of a task, each scored: one row for each problem."""

    kind: Literal["scores"] = "scores"
    version: Literal[1] = 1
    model: "Model"
    task: Task
    n: int = Field(gt=0)
    draw_seed: int = Field(default=0, ge=0)
    decoding: Decoding

    @property
    def label(self) -> str:
        return f"{self.model.label}.{self.task.name}{self.n}"

    def parents(self) -> tuple[Recipe, ...]:
        if isinstance(self.model, Scripted):
            # A shuffled floor needs the answers that it shuffles, to the same problems.
            return (self.but(model=self.model.of),) if self.model.of else ()
        return self.model.served_from


Model = Annotated[Base | Trained | Scripted, Field(discriminator="kind")]
AnyRecipe = Annotated[Base | Trained | Scripted | Completions | Scores, Field(discriminator="kind")]

for _recipe in (Base, Trained, Scripted, Completions, Scores):
    _recipe.model_rebuild()

_any_recipe: TypeAdapter[AnyRecipe] = TypeAdapter(AnyRecipe)


def parse(text: str) -> "Base | Trained | Scripted | Completions | Scores":
    """The recipe that a canonical JSON text describes.

    Raises:
        pydantic.ValidationError: the text is no recipe of this version of the code.
    """
    return _any_recipe.validate_json(text)
