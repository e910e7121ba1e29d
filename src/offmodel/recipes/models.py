"""Models: untrained, changed by training, kept on the way, and scripted ones that measure a floor."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from offmodel.errors import RequestError
from offmodel.recipes.recipe import Recipe
from offmodel.values import DPO, RL, Decoding, Distillation, Framing, Prompts, Task, Training, not_given

if TYPE_CHECKING:
    from offmodel.recipes import Completions, Data, Likelihood, Model, Preferences, Scores


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
        from offmodel.recipes.data import Completions

        return Completions(model=self, prompts=prompts, decoding=decoding, system=system)  # type: ignore[arg-type]

    def train(self, data: "Data", training: Training, framing: Framing | None = None) -> "Trained":
        """This model after a training.

        Raises:
            RequestError: a snapshot lies beyond the last step.
        """
        steps = training.steps(data.size)
        if training.snapshots and training.snapshots[-1] > steps:
            raise RequestError(
                f"snapshots {list(training.snapshots)} go beyond the {steps} steps of a training on {data.size} "
                f"examples in batches of {training.batch_size}; keep earlier ones"
            )
        return Trained(start=self, data=data, training=training, framing=framing)  # type: ignore[arg-type]

    def reinforce(self, problems: Prompts, rl: RL) -> "Reinforced":
        return Reinforced(start=self, problems=problems, rl=rl)  # type: ignore[arg-type]

    def prefer(self, pairs: "Preferences", dpo: DPO) -> "Preferred":
        return Preferred(start=self, data=pairs, dpo=dpo)  # type: ignore[arg-type]

    def distil(self, prompts: Prompts, towards: "Base", distillation: Distillation) -> "Distilled":
        return Distilled(start=self, prompts=prompts, towards=towards, distillation=distillation)  # type: ignore[arg-type]

    def likelihood(self, of: "Completions | Scores", n: int, framing: Framing | None = None) -> "Likelihood":
        from offmodel.recipes.readings import Likelihood

        return Likelihood(model=self, of=of, n=n, framing=framing)  # type: ignore[arg-type]

    def scores(self, task: "Task", n: int, decoding: Decoding, **how: Any) -> "Scores":
        """Its scores on `n` problems; `how` are the further fields of `Scores`."""
        from offmodel.recipes.readings import Scores

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


class Changed(_Model):
    """A model that started as another one; its weights are put on top of that one's."""

    start: "Model"

    @property
    def student(self) -> str:
        return self.start.student

    @property
    def served_from(self) -> tuple[Recipe, ...]:
        return (*self.start.served_from, self)


class Trained(Changed):
    """A model trained on completions, starting from another model."""

    kind: Literal["trained"] = "trained"
    version: Literal[1] = 1
    data: "Data"
    training: Training
    framing: Framing | None = Field(default=None, exclude_if=not_given)

    @property
    def label(self) -> str:
        return f"{self.start.label}.{self.training.objective}-{self.teacher}"

    def at(self, step: int) -> "Trained | Snapshot":
        """This model as it was after some of its steps: one of `training.snapshots`, or all of them."""
        return self if step == self.training.steps(self.data.size) else Snapshot(of=self, step=step)

    @property
    def teacher(self) -> str:
        """Who wrote the training data: a model's alias, or what `Data` without one says of itself."""
        return self.data.teacher

    def parents(self) -> tuple[Recipe, ...]:
        return (*self.start.served_from, self.data)


class Reinforced(Changed):
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


class Preferred(Changed):
    """A model trained with DPO to prefer the chosen answers to the rejected ones, starting from another model, which
    is the reference too."""

    kind: Literal["preferred"] = "preferred"
    version: Literal[1] = 1
    data: "Preferences"
    dpo: DPO

    @property
    def label(self) -> str:
        return f"{self.start.label}.dpo-{self.teacher}"

    @property
    def teacher(self) -> str:
        """Who wrote the answers."""
        return self.data.teacher

    def parents(self) -> tuple[Recipe, ...]:
        return (*self.start.served_from, self.data)


class Distilled(Changed):
    """A model distilled on its own answers to prompts: brought towards what an untrained model finds likely there.

    Raises:
        RequestError: the prompts make no whole number of updates.
    """

    kind: Literal["distilled"] = "distilled"
    version: Literal[1] = 1
    prompts: Prompts
    towards: Base
    distillation: Distillation

    @model_validator(mode="after")
    def _fills_its_updates(self) -> Self:
        self.distillation.updates(self.prompts.n)
        return self

    @property
    def label(self) -> str:
        return f"{self.start.label}.distilled-{self.teacher}"

    @property
    def teacher(self) -> str:
        """Alias of the model whose probabilities are learned."""
        return self.towards.alias

    def parents(self) -> tuple[Recipe, ...]:
        served = self.start.served_from
        return served if self.towards in served else (*served, self.towards)


class Snapshot(_Model):
    """A model as it was on the way; its weights are kept beside those that `of` ended with, so it is no artefact."""

    kind: Literal["snapshot"] = "snapshot"
    version: Literal[1] = 1
    of: Annotated[Trained | Reinforced, Field(discriminator="kind")]
    step: int = Field(gt=0)

    @model_validator(mode="after")
    def _was_kept(self) -> Self:
        kept = (self.of.training if isinstance(self.of, Trained) else self.of.rl).snapshots
        if self.step not in kept:
            raise ValueError(f"step {self.step} is not among the snapshots {list(kept)}")
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


WithWeights = Base | Trained | Reinforced | Preferred | Distilled | Snapshot
