"""How likely a model finds given answers: log-probabilities of their tokens, read in one forward pass each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from offmodel.data.chat import MASKED, Example
from offmodel.engines.base import OnProgress
from offmodel.training.batches import collate
from offmodel.training.checkpoint import compute_dtype, load_checkpoint
from offmodel.training.head import weighted_nll
from offmodel.training.objectives import OBJECTIVES


class Reader:
    """One checkpoint that reads answers. The head and the loss are those of training, so that the two agree."""

    def __init__(self, folder: Path, dtype: torch.dtype | None = None) -> None:
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype = dtype or compute_dtype()
        self._model = load_checkpoint(folder, self._dtype).to(self._device).eval()

    @torch.inference_mode()
    def logprobs(self, examples: Sequence[Example], batch: int, on_progress: OnProgress) -> list[np.ndarray]:
        """log p of every token that an example's labels do not mask, given all before it, at temperature 1.

        Args:
            batch: examples in one forward pass, grouped by length: a matter of memory and speed.

        Returns:
            For each example, in order, fp32 `(its labels,)` in nats.
        """
        read: dict[int, np.ndarray] = {}
        order = sorted(range(len(examples)), key=lambda i: -len(examples[i].input_ids))
        head = self._model.get_output_embeddings().weight
        for rows in (order[i : i + batch] for i in range(0, len(order), batch)):
            tensors = collate([examples[i] for i in rows])
            hidden = self._model.base_model(
                input_ids=tensors["input_ids"].to(self._device), use_cache=False
            ).last_hidden_state
            following = tensors["labels"][:, 1:].to(self._device)
            asked = following != MASKED
            tokens = weighted_nll(hidden[:, :-1][asked], head, following[asked], OBJECTIVES["sft"])
            counts = asked.sum(1).tolist()
            for i, values in zip(rows, torch.split(-tokens.nll.cpu(), counts), strict=True):
                read[i] = values.float().numpy()
            on_progress(len(rows), int(tensors["lengths"].sum()))
        return [read[i] for i in range(len(examples))]
