"""The vocabulary: models, data sets of completions and scores as small frozen values that say how each is made.

A recipe holds only what changes its result. Its id is a readable name plus a hash of its canonical JSON, parents
included, so the same recipe in two experiments is one artefact. A change of meaning in the code that makes an artefact
bumps the `version` of its recipe. How it is run (engine, devices, folders) is kept in `offmodel.settings`.
"""

import hashlib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from offmodel.values import RL, Decoding, Framing, Prompts, Seed, Task, Training, Value, not_given


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

    def train(self, data: "Data", training: Training, framing: Framing | None = None) -> "Trained":
        return Trained(start=self, data=data, training=training, framing=framing)  # type: ignore[arg-type]

    def reinforce(self, problems: Prompts, rl: RL) -> "Reinforced":
        return Reinforced(start=self, problems=problems, rl=rl)  # type: ignore[arg-type]

    def likelihood(self, of: "Completions | Scores", n: int, framing: Framing | None = None) -> "Likelihood":
        return Likelihood(model=self, of=of, n=n, framing=framing)  # type: ignore[arg-type]

    def scores(self, task: "Task", n: int, decoding: Decoding, **how: Any) -> "Scores":
        """Its scores on `n` problems; `how` are the further fields of `Scores`."""
        return Scores(model=self, task=task, n=n, decoding=decoding, **how)  # type: ignore[arg-type]


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


class _Changed(_Model):
    """A model that started as another one; its weights are put on top of that one's."""

    start: "Model"

    @property
    def student(self) -> str:
        return self.start.student

    @property
    def served_from(self) -> tuple[Recipe, ...]:
        return (*self.start.served_from, self)


class Trained(_Changed):
    """A model trained on completions, starting from another model."""

    kind: Literal["trained"] = "trained"
    version: Literal[1] = 1
    data: "Data"
    training: Training
    framing: Framing | None = Field(default=None, exclude_if=not_given)

    @property
    def label(self) -> str:
        return f"{self.start.label}.{self.training.objective}-{self.teacher}"

    @property
    def teacher(self) -> str:
        """Who wrote the training data: a model's alias, or what `Data` without one says of itself."""
        return self.data.teacher

    def parents(self) -> tuple[Recipe, ...]:
        return (*self.start.served_from, self.data)


class Reinforced(_Changed):
    """A model reinforced on problems whose answers can be checked, starting from another model."""

    kind: Literal["reinforced"] = "reinforced"
    version: Literal[1] = 1
    problems: Prompts
    rl: RL

    @property
    def label(self) -> str:
        return f"{self.start.label}.rl-{self.rl.reward}"

    def parents(self) -> tuple[Recipe, ...]:
        return self.start.served_from

    def at(self, update: int) -> "Reinforced | Snapshot":
        """This model as it was after some of its updates."""
        return self if update == self.rl.updates else Snapshot(of=self, step=update)


class Snapshot(_Model):
    """A model as it was on the way; its weights are kept beside those that `of` ended with, so it is no artefact."""

    kind: Literal["snapshot"] = "snapshot"
    version: Literal[1] = 1
    of: Reinforced
    step: int = Field(gt=0)

    @model_validator(mode="after")
    def _was_kept(self) -> Self:
        if self.step not in self.of.rl.snapshots:
            raise ValueError(f"step {self.step} is not among the snapshots {list(self.of.rl.snapshots)}")
        return self

    @property
    def label(self) -> str:
        return f"{self.of.label}.step{self.step}"

    @property
    def student(self) -> str:
        return self.of.student

    @property
    def served_from(self) -> tuple[Recipe, ...]:
        return self.of.served_from


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

    @property
    def teacher(self) -> str:
        return self.model.student

    @property
    def size(self) -> int:
        """How many answers there are."""
        return self.prompts.n

    def scrambled(self, seed: int = 0) -> "Scrambled":
        return Scrambled(of=self, seed=seed)

    def mixed(self, other: "Completions", share: float, seed: int = 0) -> "Mixture":
        """With a `share` of the prompts answered by `other`."""
        return Mixture(of=self, other=other, share=share, seed=seed)

    def parents(self) -> tuple[Recipe, ...]:
        return self.model.served_from


class _Edited(Recipe):
    """As many answers as `of` has, to the same prompts, made without a model; `seed` decides what is drawn."""

    of: Completions
    seed: Seed = 0

    @property
    def size(self) -> int:
        return self.of.size

    @property
    def decoding(self) -> Decoding:
        return self.of.decoding


class Scrambled(_Edited):
    """Answers without sense or style: to each prompt of `of` as many words as its answer has, drawn from all answers.

    Words keep their frequencies, so that a loss on them is not one on unheard-of tokens.
    """

    kind: Literal["scrambled"] = "scrambled"
    version: Literal[1] = 1

    @property
    def label(self) -> str:
        return f"scrambled-{self.of.label}"

    @property
    def teacher(self) -> str:
        return f"scrambled-{self.of.teacher}"

    def parents(self) -> tuple[Recipe, ...]:
        return (self.of,)


class Mixture(_Edited):
    """The answers of `of`, but for a `share` of the prompts, drawn by `seed`, those of `other` to the same prompts."""

    kind: Literal["mixture"] = "mixture"
    version: Literal[1] = 1
    other: Completions
    share: float = Field(gt=0, lt=1)

    @model_validator(mode="after")
    def _same_prompts(self) -> Self:
        if self.of.prompts != self.other.prompts:
            raise ValueError("the two parts of a mixture answer the same prompts")
        return self

    @property
    def label(self) -> str:
        return f"{self.of.label}-mixed-{self.other.model.label}"

    @property
    def teacher(self) -> str:
        return self.of.teacher

    def parents(self) -> tuple[Recipe, ...]:
        return (self.of, self.other)


class Prefill(Value):
    """The beginnings that answers are given: the first `tokens` tokens of the answers in `source` to the same problems.

    `of_another` gives each problem the beginning of another's answer: the style without the content.
    """

    source: "Scores"
    tokens: int = Field(gt=0)
    of_another: bool = False


class Scores(Recipe):
    """A model's answers to `n` problems of a task, each scored: one row for each problem and sample.

    `framing` is put around every problem, `prefill` begins every answer, `samples` are drawn of each.
    """

    kind: Literal["scores"] = "scores"
    version: Literal[1] = 1
    model: "Model"
    task: Task
    n: int = Field(gt=0)
    draw_seed: int = Field(default=0, ge=0)
    decoding: Decoding
    framing: Framing | None = Field(default=None, exclude_if=not_given)
    prefill: Prefill | None = Field(default=None, exclude_if=not_given)
    samples: int = Field(default=1, gt=0, exclude_if=lambda samples: samples == 1)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.samples > 1 and self.decoding.temperature == 0:
            raise ValueError("greedy answers are all alike: take one sample, or a temperature above 0")
        if self.prefill is not None:
            source = self.prefill.source
            if (source.task, source.draw_seed) != (self.task, self.draw_seed) or source.n < self.n:
                raise ValueError("a prefill comes from answers to the same problems")
            if self.prefill.tokens >= self.decoding.max_tokens:
                raise ValueError(f"a prefill of {self.prefill.tokens} tokens leaves none of {self.decoding.max_tokens}")
        return self

    @property
    def label(self) -> str:
        asked = f"{self.model.label}.{self.task.name}{self.n}"
        asked += f"x{self.samples}" if self.samples > 1 else ""
        return asked + (f".after{self.prefill.tokens}" if self.prefill else "")

    def parents(self) -> tuple[Recipe, ...]:
        if isinstance(self.model, Scripted):
            # A shuffled floor needs the answers that it shuffles, to the same problems.
            return (self.but(model=self.model.of),) if self.model.of else ()
        return (*self.model.served_from, *([self.prefill.source] if self.prefill else []))


class Likelihood(Recipe):
    """How likely a model finds answers, token by token: the first `n` of `of`, whoever wrote them.

    Answers of a model of the same origin are read as the tokens that were generated, others are encoded anew. `framing`
    is put around the chats, which were answered without it.
    """

    kind: Literal["likelihood"] = "likelihood"
    version: Literal[1] = 1
    model: Annotated[Base | Trained | Reinforced | Snapshot, Field(discriminator="kind")]
    of: Annotated[Completions | Scores, Field(discriminator="kind")]
    n: int = Field(gt=0)
    framing: Framing | None = None

    @property
    def label(self) -> str:
        return f"{self.model.label}.reads-{self.of.label}"

    def parents(self) -> tuple[Recipe, ...]:
        return (*self.model.served_from, self.of)


Model = Annotated[Base | Trained | Reinforced | Snapshot | Scripted, Field(discriminator="kind")]
Data = Annotated[Completions | Scrambled | Mixture, Field(discriminator="kind")]
AnyRecipe = Annotated[
    Base | Trained | Reinforced | Snapshot | Scripted | Completions | Scrambled | Mixture | Scores | Likelihood,
    Field(discriminator="kind"),
]

for _recipe in (
    *(Base, Trained, Reinforced, Snapshot, Scripted),
    *(Completions, Scrambled, Mixture, Prefill, Scores, Likelihood),
):
    _recipe.model_rebuild()

_any_recipe: TypeAdapter[AnyRecipe] = TypeAdapter(AnyRecipe)


def parse(text: str) -> AnyRecipe:
    """The recipe that a canonical JSON text describes.

    Raises:
        pydantic.ValidationError: the text is no recipe of this version of the code.
    """
    return _any_recipe.validate_json(text)
