"""What is minimised: each objective is a weight on a token's negative log-likelihood.

An objective maps the detached log-probabilities `(N,)` that the model now gives the gold tokens to weights `(N,)`. The
loss is sum(weight * nll) / N with N the completion tokens of the whole optimiser step, not the sum of the weights.
Weights carry no gradient, so the losses of two objectives are on different scales and are never compared: `nll`, which
is logged for each, is.
"""

from collections.abc import Callable
from typing import Final

from torch import Tensor, ones_like

Objective = Callable[[Tensor], Tensor]


def sft(logp: Tensor) -> Tensor:
    """Weight 1: cross-entropy on the teacher's tokens. `(N,)` to `(N,)`."""
    return ones_like(logp)


def dft(logp: Tensor) -> Tensor:
    """Weight p(token): dynamic fine-tuning, arXiv 2508.05629, equation 9. `(N,)` to `(N,)`.

    Its gradient is that of -p, so tokens the student finds impossible get no push.
    """
    return logp.exp()


OBJECTIVES: Final[dict[str, Objective]] = {"sft": sft, "dft": dft}
