"""Supervised fine-tuning on completions: LoRA or full weights, with any objective of `offmodel.training.objectives`.

transformers' Trainer runs the loop: devices, accumulation, schedule, clipping. What is put into it (the loss, the order
of the examples, the learning curve, the rule for resuming) stands in `loop` and `batches`.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from torch.utils.data import Subset
from transformers import TrainingArguments, set_seed

from offmodel.data.chat import MASKED, Example
from offmodel.errors import RequestError
from offmodel.paths import snapshot_folder
from offmodel.training.batches import order_of_examples
from offmodel.training.checkpoint import compute_dtype, load_checkpoint
from offmodel.training.loop import (
    LoggingTrainer,
    OnProgress,
    completion_loss,
    epoch_arguments,
    last_checkpoint,
    loop_arguments,
    refuse_data_parallel,
)
from offmodel.training.merge import copy_without_weights
from offmodel.training.objectives import objective
from offmodel.training.reference import reference_log_probabilities, with_given
from offmodel.training.terms import Objective
from offmodel.values import Training


class StudentTrainer:
    """Trains students that all start from one checkpoint folder.

    The base is loaded once and is left untouched by any number of LoRA trainings; each full-weight training loads its
    own fp32 copy. Matrix products run in `dtype` (default: `compute_dtype()`); LoRA weights and the optimiser are fp32.
    """

    def __init__(self, start: Path, dtype: torch.dtype | None = None) -> None:
        self._start = start
        self.dtype = dtype or compute_dtype()
        self._base: Any = None
        self._reference: tuple[str, list[Tensor]] = ("", [])  # the last one: objectives are compared on the same data

    def train(
        self,
        examples: Sequence[Example],
        training: Training,
        out: Path,
        work: Path,
        on_progress: OnProgress = lambda done, total, tokens: None,
        save_every: int = 50,
        device_batch: int = 8,
        gradient_checkpointing: bool = False,
    ) -> None:
        """Train one student and write it to `out`, with its learning curve.

        `out` receives a PEFT adapter, or for full weights a bf16 checkpoint with the start's tokenizer; one more in
        `snapshot-<step>/` for each of `training.snapshots`; and `training.parquet`, a row for each optimiser step:
        `step`, `epoch`, `loss` (of the objective), `nll` and `token_probability` (means over the step's completion
        tokens), `grad_norm` (before clipping), `learning_rate`, `tokens` (prompts and completions, no padding) and
        `tokens_per_second` (of the step, saving left out).

        A run that was stopped continues from its last whole checkpoint in `work` and ends with the same weights (on a
        GPU up to rounding); `work` can be deleted when this returns. With several devices there is one process for
        each, and the last step's batch is filled up by repeating examples when it does not divide.

        Args:
            save_every: optimiser steps between checkpoints.
            device_batch: examples that one device holds at once: a matter of memory and speed, not of the result.
            gradient_checkpointing: keep each layer's input alone for the way back and compute the rest again there, as
                Chen et al. 2016 do (arXiv 1604.06174): less memory for a third more time, and the same result.

        Raises:
            RequestError: there is nothing to learn, or the objective leaves nothing, the only step is one of
                warm-up, a snapshot lies beyond the last step, the batch sizes do not divide, the folder is no
                checkpoint with a plain head, or `work` belongs to another training.
            RunError: the loss or its gradient is no longer finite.
        """
        if not any(label != MASKED for example in examples for label in example.labels):
            raise RequestError("no example has a token to learn; raise max_length or look at the completions")
        arguments = _arguments(training, work, save_every, device_batch)
        fingerprint = _fingerprint(examples, training)
        checkpoint = last_checkpoint(work, fingerprint)
        lengths = [len(example.input_ids) for example in examples]
        order = order_of_examples(lengths, training.epochs, training.batch_size, training.seed)
        steps = training.steps(len(examples))
        training.refuse_only_warm_up(len(examples))
        if training.snapshots and training.snapshots[-1] > steps:
            raise RequestError(f"snapshots {list(training.snapshots)} go beyond the {steps} steps of this training")
        chosen = objective(training.objective, training.parameters)
        model = self._student(training)
        try:
            recomputed = _layers_recomputed(model) if gradient_checkpointing else nullcontext()
            with completion_loss(model, chosen, self.dtype) as totals, _casts_left_to(model), recomputed:
                if chosen.needs_reference:
                    examples = self._with_given(model, examples, chosen, arguments)
                data = Subset(examples, order)  # type: ignore[arg-type]  # any sequence will do

                def keep(step: int) -> None:
                    if step in training.snapshots and trainer.is_world_process_zero():
                        self._write(model, snapshot_folder(work, step))

                trainer = LoggingTrainer(
                    model, arguments, data, totals, keep, on_progress=on_progress, fingerprint=fingerprint
                )
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            if trainer.is_world_process_zero():
                self._write(model, out)
                for step in training.snapshots:
                    shutil.copytree(snapshot_folder(work, step), snapshot_folder(out, step), dirs_exist_ok=True)
                curve = trainer.rows()
                seen = (curve["step"] * training.batch_size).clip(upper=len(order))
                curve.insert(1, "epoch", seen / len(examples))
                curve.to_parquet(out / "training.parquet", index=False)
        finally:
            if isinstance(model, PeftModel):
                model.unload()

    def _student(self, training: Training) -> Any:
        if training.method == "full":
            return load_checkpoint(self._start, torch.float32)  # bf16 would round small updates away
        self._base = self._base or load_checkpoint(self._start, self.dtype)
        set_seed(training.seed)  # the adapter's first matrix is drawn now
        return get_peft_model(self._base, lora_config(self._base, training.rank, training.alpha))

    def _with_given(
        self, model: Any, examples: Sequence[Example], chosen: Objective, arguments: TrainingArguments
    ) -> Sequence[Example]:
        which = f"{type(model).__name__} {_digest(examples)}"  # full weights are rounded otherwise than a base
        if self._reference[0] != which:
            share = slice(arguments.process_index, None, arguments.world_size)
            batch = arguments.per_device_train_batch_size
            found = reference_log_probabilities(
                model.to(arguments.device), examples, self.dtype, arguments.device, batch, share
            )
            self._reference = (which, found)
        return with_given(examples, self._reference[1], chosen)

    def _write(self, model: Any, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        if isinstance(model, PeftModel):
            model.save_pretrained(str(out))
        else:
            model.save_pretrained(out, state_dict=_in_bf16(model.state_dict()))
            copy_without_weights(self._start, out)  # the start's configs, not those that were just written


def _in_bf16(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies; weights that are one in memory, as a tied head is, stay one."""
    made: dict[int, Tensor] = {}
    for weight in weights.values():
        made.setdefault(weight.data_ptr(), weight.to(torch.bfloat16) if weight.is_floating_point() else weight)
    return {name: made[weight.data_ptr()] for name, weight in weights.items()}


def lora_config(model: Any, rank: int, alpha: float) -> LoraConfig:
    """LoRA on every linear layer but the head, without dropout: the one shape of adapter in this project.

    The experts of a mixture are no linear layers but stacked weights, and stay as they are: the checkpoint holds them
    one by one, and an adapter of the stack could not be merged into it.
    """
    head = model.get_output_embeddings()
    linear = {name for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and layer is not head}
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # it is only divided by r
        lora_dropout=0.0,
        target_modules=sorted({name.rpartition(".")[2] for name in linear}),
        task_type="CAUSAL_LM",
    )


def _casts_left_to(model: Any) -> Any:
    # Autocast already brings LoRA's inputs and weights to one dtype; PEFT's own cast to fp32 would undo it.
    return disable_input_dtype_casting(model) if isinstance(model, PeftModel) else nullcontext()


@contextmanager
def _layers_recomputed(model: Any) -> Iterator[None]:
    # Not by the Trainer, which would leave the base of later trainings so.
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    base.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        base.gradient_checkpointing_disable()
        base.disable_input_require_grads()


def _arguments(training: Training, work: Path, save_every: int, device_batch: int) -> TrainingArguments:
    arguments = TrainingArguments(
        **loop_arguments(training, work, save_every, device_batch),
        **epoch_arguments(training),
        remove_unused_columns=False,
    )
    refuse_data_parallel(arguments)
    devices = arguments.world_size
    if training.batch_size % (device_batch * devices):
        raise RequestError(
            f"batch_size {training.batch_size} is no multiple of {device_batch} examples on each of {devices} devices; "
            "choose another device_batch"
        )
    arguments.gradient_accumulation_steps = training.batch_size // (device_batch * devices)
    return arguments


def _fingerprint(examples: Sequence[Example], training: Training) -> str:
    return _digest(examples, training.canonical())


def _digest(examples: Sequence[Example], of: str = "") -> str:
    digest = hashlib.sha256(of.encode())
    for example in examples:
        digest.update(repr((example.input_ids, example.labels)).encode())
    return digest.hexdigest()
