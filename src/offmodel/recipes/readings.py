"""What is measured of a model: its answers to problems, scored, and how likely it finds given answers."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from offmodel.recipes.data import Completions, Solutions
from offmodel.recipes.models import Scripted, WithWeights
from offmodel.recipes.recipe import Recipe
from offmodel.values import Decoding, Framing, Task, Value, not_given

if TYPE_CHECKING:
    from offmodel.recipes import Model


class Prefill(Value):
    """The beginnings that answers are given: the first `tokens` tokens of the answers in `source` to the same problems.

    `of_another` gives each problem the beginning of another's answer: the style without the content. `rule` is that by
    which beginnings that hold an answer are known (`harness.holds_answer`).
    """

    rule: Literal[2] = 2
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
    def longest(self) -> int:
        """The tokens that an answer may have, for estimates."""
        return self.decoding.max_tokens

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
    model: Annotated[WithWeights, Field(discriminator="kind")]
    of: Annotated[Completions | Solutions | Scores, Field(discriminator="kind")]
    n: int = Field(gt=0)
    framing: Framing | None = None

    @property
    def writer(self) -> str:
        """Who wrote what is read: a model's alias, or what data without one says of itself."""
        return self.of.model.student if isinstance(self.of, Scores) else self.of.teacher

    @property
    def label(self) -> str:
        return f"{self.model.label}.reads-{self.of.label}"

    def parents(self) -> tuple[Recipe, ...]:
        return (*self.model.served_from, self.of)
