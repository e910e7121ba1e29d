"""How likely a model finds given answers: log-probabilities of their tokens, read in one forward pass each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from offmodel.data.chat import Example
from offmodel.engines.base import OnProgress
from offmodel.training.checkpoint import compute_dtype, load_checkpoint
from offmodel.training.reference import log_probabilities


class Reader:
    """One checkpoint that reads answers. The head and the loss are those of training, so that the two agree."""

    def __init__(self, folder: Path, dtype: torch.dtype | None = None) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = dtype or compute_dtype()
        self._model = load_checkpoint(folder, self._dtype).to(self._device).eval()

    def logprobs(self, examples: Sequence[Example], batch: int, on_progress: OnProgress) -> list[np.ndarray]:
        """log p of every token that an example's labels do not mask, given all before it, at temperature 1.

        Args:
            batch: examples in one forward pass, grouped by length: a matter of memory and speed.

        Returns:
            For each example, in order, fp32 `(its learned labels,)` in nats.
        """
        read = log_probabilities(self._model, examples, self._dtype, self._device, batch, on_progress)
        return [logp.numpy() for logp in read]
