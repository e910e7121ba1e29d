"""The objectives that a student can be trained with, by name, and the numbers that each can be given.

What each one computes stands in `training.objectives`, in the function of the same name. This part loads no torch, so
that a wrong request is found while a study is planned.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from offmodel.errors import RequestError
from offmodel.nearest import unknown


@dataclass(frozen=True)
class Parameter:
    """A number with its default, strictly between two bounds. None as the default: taken from the training set."""

    default: float | None
    above: float = 0.0
    below: float = math.inf


@dataclass(frozen=True)
class Named:
    """`parameters` by name; `compares`: at every step it looks at whole distributions of the untrained model;
    `may_learn_nothing`: its weights can all be 0 in fp32, which is then a result and no mistake."""

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    compares: bool = False
    may_learn_nothing: bool = False


OBJECTIVES: Final[dict[str, Named]] = {
    "sft": Named(),
    "dft": Named(),
    "dft_sentence": Named(may_learn_nothing=True),
    "dft_geometric": Named(),
    "iw_sft": Named({"temperature": Parameter(1.0), "ceiling": Parameter(16.0)}),
    "asft": Named({"kl": Parameter(0.1)}, compares=True),
    "sft_kl": Named({"kl": Parameter(0.1)}, compares=True),
    "flow": Named({"tau": Parameter(None)}),
    "stm": Named({"perplexity": Parameter(2.5, above=1.0)}),
    "clip": Named({"fraction": Parameter(0.1, below=1.0)}),
    "eaft": Named({"power": Parameter(1.0)}),
    "sed": Named({"strength": Parameter(0.2), "certainty": Parameter(0.95, below=1.0)}),
}


def check_objective(name: str, given: Mapping[str, float], method: str) -> None:
    """Whether students can be trained so.

    Raises:
        RequestError: an unknown objective, a parameter that it does not take or that is out of range, or full weights
            with an objective that needs the untrained model beside the trained one.
    """
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    for key, value in given.items():
        if key not in OBJECTIVES[name].parameters:
            takes = ", ".join(OBJECTIVES[name].parameters) or "none"
            raise RequestError(f"objective '{name}' has no parameter '{key}'; it takes: {takes}")
        known = OBJECTIVES[name].parameters[key]
        if not known.above < value < known.below:
            upper = "" if known.below == math.inf else f" and below {known.below:g}"
            raise RequestError(f"objective '{name}': {key} must be above {known.above:g}{upper}, found {value:g}")
    if OBJECTIVES[name].compares and method == "full":
        raise RequestError(
            f"objective '{name}' compares the student with the untrained model at every step, which is the adapter "
            "switched off; full weights have none: set method = 'lora'"
        )


def given_parameters(name: str, given: Mapping[str, float]) -> dict[str, float]:
    """Without those that equal their default, in the order of the alphabet: one training has one description."""
    defaults = OBJECTIVES[name].parameters if name in OBJECTIVES else {}
    return {key: given[key] for key in sorted(given) if key not in defaults or given[key] != defaults[key].default}


def all_parameters(name: str, given: Mapping[str, float]) -> dict[str, float | None]:
    """Those given, and the defaults of the others."""
    return {key: given.get(key, known.default) for key, known in OBJECTIVES[name].parameters.items()}
