"""What is our own in the training loop: the loss inside the model, the learning curve, trustworthy checkpoints."""

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments

from offmodel.data.chat import Example
from offmodel.errors import RequestError, RunError
from offmodel.training.batches import collate, learned
from offmodel.training.head import token_losses
from offmodel.training.reference import hidden_states, parts, untrained
from offmodel.training.terms import Objective

OnProgress = Callable[[int, int, int], None]
"""Called after each step with the steps done, the steps in all, and the step's tokens (prompts included)."""

Keep = Callable[[int], None]
"""Called after each step, to keep the weights as they are then."""

_WHOLE: Final = "WHOLE"
"""Written into a checkpoint folder after everything else, with the fingerprint of the run it belongs to."""

_COLUMNS: Final = (
    "step",
    "loss",
    "nll",
    "token_probability",
    "grad_norm",
    "learning_rate",
    "tokens",
    "tokens_per_second",
)


class StepTotals:
    """Sums over the micro-batches of one optimiser step on this device."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def add(self, weighted: Tensor, nll: Tensor, tokens: Tensor) -> None:
        completion_tokens = torch.as_tensor(nll.numel(), device=nll.device)
        parts = [weighted.detach(), nll.sum(), (-nll).exp().sum(), completion_tokens, tokens.sum()]
        sums = torch.stack([part.double() for part in parts])
        self._sums = sums if self._sums is None else self._sums + sums

    def take(self, over_devices: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The step's row of the learning curve; counting starts again at zero."""
        assert self._sums is not None, "a step without a forward pass"
        weighted, nll, probability, completion_tokens, tokens = over_devices(self._sums).tolist()
        self._sums = None
        n = max(completion_tokens, 1)
        return {"loss": weighted / n, "nll": nll / n, "token_probability": probability / n, "tokens": int(tokens)}


@contextmanager
def completion_loss(model: Any, objective: Objective, dtype: torch.dtype) -> Iterator[StepTotals]:
    """While open, `model(input_ids, labels, lengths, given, num_items_in_batch)` returns the objective's loss alone.

    The loss is the sum over the micro-batch's completion tokens divided by `num_items_in_batch`, the completion tokens
    of the whole step. It is computed inside forward because only there do wrappers for several devices see it. An
    objective that compares costs one more pass through the backbone, without gradient.
    """
    causal_lm, backbone, head = parts(model)
    totals = StepTotals()

    def forward(
        input_ids: Tensor,
        labels: Tensor,
        lengths: Tensor,
        given: Tensor | None = None,
        num_items_in_batch: Tensor | None = None,
        **_: Any,
    ) -> dict[str, Tensor]:
        of_reference = None
        if objective.compares:  # first, so that it is over before the student's activations are kept
            with torch.no_grad(), untrained(model):
                of_reference = hidden_states(backbone, input_ids, labels, dtype)
        hidden = hidden_states(backbone, input_ids, labels, dtype)
        row, position = learned(labels).nonzero(as_tuple=True)
        gold = labels[row, position + 1]
        tokens = token_losses(hidden, head.weight.to(dtype), gold, objective, row, given, of_reference)
        totals.add(tokens.loss, tokens.nll, lengths)
        n = torch.as_tensor(len(gold)) if num_items_in_batch is None else num_items_in_batch
        return {"loss": tokens.loss / n.clamp(min=1)}

    causal_lm.forward = forward
    try:
        yield totals
    finally:
        del causal_lm.forward  # the class's own forward shows again


class LoggingTrainer(Trainer):
    """A Trainer that keeps a row for each step in its state, which each checkpoint saves and a resume reads back."""

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        examples: Dataset[Example],
        totals: StepTotals,
        on_progress: OnProgress,
        fingerprint: str,
        keep: Keep = lambda step: None,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=examples, data_collator=collate)
        self._keep = keep
        self.remove_callback(PrinterCallback)
        self._totals = totals
        self._on_progress = on_progress
        self._fingerprint = fingerprint
        self._step_began: float | None = None

    def rows(self) -> pd.DataFrame:
        """One row for each optimiser step so far, those before a resume included."""
        rows = [row for row in self.state.log_history if "nll" in row]
        return pd.DataFrame(rows, columns=_COLUMNS)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        self._step_began = self._step_began or time.perf_counter()
        return super().training_step(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "grad_norm" not in logs:  # the summary after the last step
            return
        row = self._totals.take(lambda sums: self.accelerator.reduce(sums, "sum"))  # type: ignore[arg-type, return-value]
        assert self._step_began is not None
        row["tokens_per_second"] = row["tokens"] / (time.perf_counter() - self._step_began)
        self._step_began = None
        step = self.state.global_step
        if not (math.isfinite(row["loss"]) and math.isfinite(logs["grad_norm"])):
            raise RunError(
                f"training diverged at step {step} of {self.state.max_steps} (loss {row['loss']}, gradient norm "
                f"{logs['grad_norm']}); lower learning_rate"
            )
        super().log({**logs, **row}, start_time)
        self._keep(step)
        self._on_progress(step, self.state.max_steps, int(row["tokens"]))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            mark_whole(Path(str(self.args.output_dir)), self.state.global_step, self._fingerprint)


def refuse_data_parallel(arguments: TrainingArguments) -> None:
    """See that each process drives one device.

    Raises:
        RequestError: several GPUs are visible to this one process.
    """
    if arguments.n_gpu > 1:
        raise RequestError(
            "several GPUs in one process: start one process for each, or show it one (CUDA_VISIBLE_DEVICES)"
        )


def mark_whole(work: Path, step: int, fingerprint: str) -> None:
    """Say that the checkpoint of `step` is written to its end; without this mark it is not resumed from."""
    folder = work / f"checkpoint-{step}"
    unfinished = folder / f".{_WHOLE}"
    unfinished.write_text(fingerprint, encoding="utf-8")
    unfinished.replace(folder / _WHOLE)


def last_checkpoint(work: Path, fingerprint: str) -> Path | None:
    """The newest whole checkpoint in `work`, or None; folders that were being written when a run died are removed.

    Raises:
        RequestError: a checkpoint there was made by a run on other examples or settings.
    """
    whole: dict[int, Path] = {}
    for folder in work.glob("checkpoint-*"):
        mark = folder / _WHOLE
        if not mark.exists():
            shutil.rmtree(folder, ignore_errors=True)  # another device's process may be removing it too
            continue
        if mark.read_text(encoding="utf-8") != fingerprint:
            raise RequestError(f"{folder} belongs to another training (examples or settings differ); delete {work}")
        whole[int(folder.name.rpartition("-")[2])] = folder
    return whole[max(whole)] if whole else None
