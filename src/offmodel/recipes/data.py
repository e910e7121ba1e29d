"""What models are trained on: a model's answers to prompts, what is made of these, and solutions of problems."""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from offmodel.recipes.recipe import Recipe
from offmodel.values import AnswerReward, Decoding, Prompts, Seed

if TYPE_CHECKING:
    from offmodel.recipes import Model

SOLUTION_TOKENS = 256  # of a solution, for estimates; sources do not say: a guess


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

    @property
    def longest(self) -> int:
        """The tokens that an answer may have, for estimates."""
        return self.decoding.max_tokens

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
    def longest(self) -> int:
        return self.of.longest


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


class Solutions(Recipe):
    """The solutions that come with problems: nobody's answers, as far as is known."""

    kind: Literal["solutions"] = "solutions"
    version: Literal[1] = 1
    problems: Prompts

    @property
    def label(self) -> str:
        return f"solutions.{self.problems.source}{self.problems.n}"

    @property
    def teacher(self) -> str:
        return "solutions"

    @property
    def size(self) -> int:
        return self.problems.n

    @property
    def longest(self) -> int:
        return SOLUTION_TOKENS


class _Judged(Recipe):
    """Made of a model's samples, answers to the same problems under several seeds, each told right or wrong by the
    reward of that name."""

    of: tuple[Completions, ...] = Field(min_length=2)
    reward: AnswerReward = "number"

    @model_validator(mode="after")
    def _samples_of_one_model(self) -> Self:
        first, seeds = self.of[0], [one.decoding.seed for one in self.of]
        alike = all(one.but(decoding=one.decoding.but(seed=seeds[0])) == first for one in self.of)
        if not alike or len(set(seeds)) < len(seeds):
            raise ValueError("samples are one model's answers to the same problems, and differ in their seeds alone")
        return self

    @property
    def teacher(self) -> str:
        return self.of[0].teacher

    @property
    def longest(self) -> int:
        return self.of[0].longest

    @property
    def answers(self) -> int:
        """How many are judged."""
        return sum(one.size for one in self.of)

    def parents(self) -> tuple[Recipe, ...]:
        return self.of


class Accepted(_Judged):
    """All right answers among the samples: what rejection-sampling fine-tuning learns from (RFT, Yuan et al., 2023,
    arXiv 2308.01825, without its removal of repeated answers, which the DFT paper, arXiv 2508.05629, does not name)."""

    kind: Literal["accepted"] = "accepted"
    version: Literal[1] = 1

    @property
    def label(self) -> str:
        return f"accepted-{self.of[0].label}x{len(self.of)}"

    @property
    def size(self) -> int:
        """The most that there can be."""
        return self.answers

    def solutions_instead(self) -> "SolutionsInstead":
        return SolutionsInstead(of=self)


class SolutionsInstead(Recipe):
    """In the place of each right answer the solution that comes with its problem: the same problems, each as often, by
    another writer. Where several answers to a problem are right, one text stands there several times."""

    kind: Literal["solutions_instead"] = "solutions_instead"
    version: Literal[1] = 1
    of: Accepted

    @property
    def label(self) -> str:
        return f"solutions-instead-{self.of.label}"

    @property
    def teacher(self) -> str:
        return "solutions-instead"

    @property
    def size(self) -> int:
        """The most that there can be."""
        return self.of.size

    @property
    def longest(self) -> int:
        return SOLUTION_TOKENS

    def parents(self) -> tuple[Recipe, ...]:
        return (self.of,)


class Preferences(_Judged):
    """Pairs of a right and a wrong answer to one problem, as many as can be made with no answer in two; `seed` decides
    which meets which."""

    kind: Literal["preferences"] = "preferences"
    version: Literal[1] = 1
    seed: Seed = 0

    @property
    def label(self) -> str:
        return f"preferences-{self.of[0].label}x{len(self.of)}"

    @property
    def size(self) -> int:
        """The most pairs that there can be."""
        return self.of[0].size * (len(self.of) // 2)
