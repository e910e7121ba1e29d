"""Training on pairs of answers with DPO: LoRA, TRL's trainer, the student with its adapter off as the reference.

What is put into its loop stands in `dpo_loop`.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from transformers import AutoTokenizer

from offmodel.data.chat import MASKED, Example
from offmodel.errors import RequestError
from offmodel.training.batches import order_of_examples
from offmodel.training.checkpoint import compute_dtype, load_checkpoint
from offmodel.training.loop import (
    OnProgress,
    epoch_arguments,
    last_checkpoint,
    refuse_data_parallel,
)
from offmodel.training.rl import require_trl
from offmodel.training.sft import lora_config
from offmodel.training.trl_loop import trl_arguments
from offmodel.values import DPO


class Pair(NamedTuple):
    """Two answers to one prompt, as SFT would learn each of them."""

    chosen: Example
    rejected: Example


def train_dpo(
    start: Path,
    pairs: Sequence[Pair],
    settings: DPO,
    out: Path,
    work: Path,
    on_progress: OnProgress = lambda done, total, tokens: None,
    save_every: int = 50,
    device_batch: int = 4,
    dtype: torch.dtype | None = None,
) -> None:
    """Train one student and write its adapter to `out`, with its learning curve.

    The loss of a pair is −log σ(β Δ), Δ the student's log-probability of the chosen answer less that of the rejected
    one, sums over tokens, each less the reference's (Rafailov et al., 2023, arXiv 2305.18290, eq. 7).

    `out` receives a PEFT adapter and `training.parquet`, a row for each optimiser step: `step`, `epoch`, `loss`;
    `chosen_reward` and `rejected_reward` (the implicit ones: β times the log-probability of an answer above the
    reference's), `margin` (of the one above the other) and `reward_accuracy` (share of pairs in which it is above 0);
    `chosen_logp` and `rejected_logp` (nats an answer, under the student); `entropy` (nats a token), `grad_norm` (before
    clipping), `learning_rate`, `tokens` (of both answers, each with the prompt, no padding) and `tokens_per_second` (of
    the step, saving left out). All are means over micro-batches; the last one of a training may be smaller, and weighs
    as much as the others, in the loss too.

    On the CPUs of one machine the same seed gives the same adapter, on a GPU the same up to rounding. A run that was
    stopped continues from its last whole checkpoint in `work` and ends as it would have; `work` can be deleted when
    this returns.

    Args:
        start: checkpoint folder of the student; an adapter is merged into it beforehand.
        save_every: optimiser steps between checkpoints.
        device_batch: pairs that one device holds at once: a matter of memory and speed.
        dtype: of the matrix products; `compute_dtype()` where it is None. LoRA weights and the optimiser are fp32.

    Raises:
        RequestError: TRL is missing, there is no pair, the only step is one of warm-up, the batch sizes do not divide,
            the folder is no checkpoint with a plain head, or `work` belongs to another training.
        RunError: the loss or its gradient is no longer finite.
    """
    require_trl()
    if not pairs:
        raise RequestError("there is no pair of answers to learn from")
    dtype = dtype or compute_dtype()
    from offmodel.training.dpo_loop import LoggingDPO

    arguments = _arguments(settings, work, save_every, device_batch, dtype)
    fingerprint = _fingerprint(pairs, settings)
    checkpoint = last_checkpoint(work, fingerprint)
    lengths = [max(len(side.input_ids) for side in pair) for pair in pairs]
    order = order_of_examples(lengths, settings.epochs, settings.batch_size, settings.seed)
    settings.refuse_only_warm_up(len(pairs))
    student = load_checkpoint(start, dtype)
    trainer = LoggingDPO(
        on_progress=on_progress,
        fingerprint=fingerprint,
        model=student,
        args=arguments,
        train_dataset=Dataset.from_list([_row(pairs[index]) for index in order]),
        processing_class=AutoTokenizer.from_pretrained(start, local_files_only=True),
        peft_config=lora_config(student, settings.rank, settings.alpha),
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.is_world_process_zero():
        out.mkdir(parents=True, exist_ok=True)
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(str(out))
        curve = trainer.rows()
        seen = (curve["step"] * settings.batch_size).clip(upper=len(order))
        curve.insert(1, "epoch", seen / len(pairs))
        curve.to_parquet(out / "training.parquet", index=False)


def _row(pair: Pair) -> dict[str, list[int]]:
    """The ids under the names that TRL gives them once it has tokenised."""
    prompt = [label != MASKED for label in pair.chosen.labels].index(True)
    return {
        "prompt_ids": pair.chosen.input_ids[:prompt],
        "chosen_ids": pair.chosen.input_ids[prompt:],
        "rejected_ids": pair.rejected.input_ids[prompt:],
    }


def _arguments(settings: DPO, work: Path, save_every: int, device_batch: int, dtype: torch.dtype) -> Any:
    from offmodel.training.dpo_loop import DPOConfig

    devices = int(os.environ.get("WORLD_SIZE", 1))
    if settings.batch_size % (device_batch * devices):
        raise RequestError(
            f"batch_size {settings.batch_size} is no multiple of {device_batch} pairs on each of {devices} devices; "
            "choose another device_batch"
        )
    arguments = DPOConfig(
        **trl_arguments(settings, work, save_every, device_batch, dtype),
        **epoch_arguments(settings),
        gradient_accumulation_steps=settings.batch_size // (device_batch * devices),
        beta=settings.beta,
        max_length=None,  # the examples are cut already
    )
    refuse_data_parallel(arguments)
    return arguments


def _fingerprint(pairs: Sequence[Pair], settings: DPO) -> str:
    digest = hashlib.sha256(settings.canonical().encode())
    for pair in pairs:
        digest.update(repr([(side.input_ids, side.labels) for side in pair]).encode())
    return digest.hexdigest()
