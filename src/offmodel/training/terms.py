"""What an objective is to the head and the loop: a pure function, its parameters, and what it asks to see.

A function says what it looks at by the names of its arguments:

    logp       (N,)    log-probability that the student now gives each completion token
    sequence   (N,)    which example a token belongs to, from 0: the function looks at whole examples
    reference  (N,)    log-probability that the untrained model, the start of this training, gives the token
    logits     (N, V)  the student's logits; such a function sees some rows at a time

Arguments that can only be given by keyword are its parameters. All log-probabilities are in nats, in fp32 or better.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from torch import Tensor

INPUTS: Final = ("logp", "sequence", "reference", "logits")


class Terms(NamedTuple):
    """A token's loss: weight * nll + extra + kl * KL(reference ‖ student), the KL over the whole vocabulary.

    Attributes:
        weight: `(N,)`, taken for a constant.
        extra: `(N,)`, a function of `logp` that is differentiated, or None.
        kl: the factor of the KL; where it is not 0 the objective is listed as one that `compares`.
    """

    weight: Tensor
    extra: Tensor | None = None
    kl: float = 0.0


Function = Callable[..., Tensor | Terms]
"""From what it asks to see to `Terms`, or to the weights alone; to these always where it asks for `sequence`."""


@dataclass(frozen=True)
class Objective:
    """A function with its parameters. `compares`: it takes a KL to the untrained model."""

    function: Function
    parameters: Mapping[str, float | None]
    compares: bool = False

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        arguments = inspect.signature(self.function).parameters.values()
        return tuple(one.name for one in arguments if one.kind is not one.KEYWORD_ONLY)

    @property
    def fixed(self) -> bool:
        """Its weights do not depend on the student: they are taken once, over the whole training set."""
        return not {"logp", "logits"} & {*self.inputs}

    @property
    def sees_examples(self) -> bool:
        """Its weights are known only when an example's last token is: it cannot be applied to some rows at a time."""
        return not self.fixed and "sequence" in self.inputs

    @property
    def needs_reference(self) -> bool:
        """It looks at the log-probabilities of the untrained model, which are taken once, before training."""
        return "reference" in self.inputs

    def __call__(self, **known: Any) -> Terms:
        """The terms of tokens of which `known` is known; what the function does not ask for is left out."""
        terms = self.function(**{name: known[name] for name in self.inputs}, **self.parameters)
        return terms if isinstance(terms, Terms) else Terms(terms)
