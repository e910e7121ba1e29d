"""What is our own in the training loop: the loss inside the model, the learning curve, trustworthy checkpoints."""

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final

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


class CurveTrainer(Trainer):
    """A Trainer that keeps a row for each optimiser step in its state, which each checkpoint saves and a resume reads
    back, and that marks whole checkpoints. It may be inherited before another library's Trainer.

    Args:
        others: what the Trainer behind it takes.
    """

    unit: ClassVar = "step"
    """What an optimiser step is called in an error."""

    def __init__(self, *, on_progress: OnProgress, fingerprint: str, **others: Any) -> None:
        self._on_progress, self._fingerprint = on_progress, fingerprint
        self._step_began: float | None = None
        super().__init__(**others)
        self.remove_callback(PrinterCallback)

    def measured(self, seconds: float) -> dict[str, Any]:
        """What the row of this step holds beside what the Trainer logs; the step took so many seconds."""
        raise NotImplementedError

    def tokens_of_step(self) -> int:
        """For `on_progress`, asked once the row is logged."""
        raise NotImplementedError

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        self._step_began = self._step_began or time.perf_counter()  # of the first micro-batch
        return super().training_step(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "grad_norm" not in logs:  # the summary after the last step
            return
        assert self._step_began is not None
        seconds, self._step_began = time.perf_counter() - self._step_began, None
        row = {**logs, **self.measured(seconds)}
        step = self.state.global_step
        if not (math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])):
            raise RunError(
                f"training diverged at {self.unit} {step} of {self.state.max_steps} (loss {row['loss']}, gradient norm "
                f"{row['grad_norm']}); lower learning_rate"
            )
        super().log(row, start_time)
        self._on_progress(step, self.state.max_steps, self.tokens_of_step())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            mark_whole(Path(str(self.args.output_dir)), self.state.global_step, self._fingerprint)


class LoggingTrainer(CurveTrainer):
    """The loop of supervised fine-tuning: examples in their order, and the totals of `completion_loss`."""

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        examples: Dataset[Example],
        totals: StepTotals,
        keep: Keep = lambda step: None,
        **others: Any,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=examples, data_collator=collate, **others)
        self._totals, self._keep = totals, keep

    def rows(self) -> pd.DataFrame:
        """One row for each optimiser step so far, those before a resume included."""
        rows = [row for row in self.state.log_history if "nll" in row]
        return pd.DataFrame(rows, columns=_COLUMNS)

    def measured(self, seconds: float) -> dict[str, Any]:
        row = self._totals.take(lambda sums: self.accelerator.reduce(sums, "sum"))  # type: ignore[arg-type, return-value]
        return {**row, "tokens_per_second": row["tokens"] / seconds}

    def tokens_of_step(self) -> int:
        return int(self.state.log_history[-1]["tokens"])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)
        if "grad_norm" in logs:
            self._keep(self.state.global_step)


def loop_arguments(settings: Any, work: Path, save_every: int, device_batch: int) -> dict[str, Any]:
    """Arguments of a Trainer that are the same for every training here; `settings` has its own learning_rate,
    max_grad_norm and seed."""
    return {
        "output_dir": str(work),
        "per_device_train_batch_size": device_batch,
        "learning_rate": settings.learning_rate,
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
        "save_steps": save_every,
        "save_total_limit": 2,  # the newest is not yet marked whole when older ones are deleted
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": [],
        "use_cpu": not torch.cuda.is_available(),  # without it, processes on CPUs would each train alone
        "ddp_find_unused_parameters": False,
    }


def epoch_arguments(settings: Any) -> dict[str, Any]:
    """Arguments of a training on examples in a given order, in which all epochs are; `settings` has its own schedule,
    warmup_ratio and weight_decay."""
    return {
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "lr_scheduler_type": settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        "warmup_steps": settings.warmup_ratio,  # below 1 it is a share of all steps
        "weight_decay": settings.weight_decay,
    }


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
