"""On-policy distillation: a student learns, on answers of its own, what another model finds likely there.

LoRA, TRL's trainer, answers sampled by transformers. What is put into its loop stands in `on_policy`.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoTokenizer

from offmodel.data.chat import ChatFormat, Message
from offmodel.errors import RequestError
from offmodel.training.checkpoint import compute_dtype, load_checkpoint
from offmodel.training.loop import OnProgress, last_checkpoint
from offmodel.training.on_policy import arguments, order_of_prompts, prompt_ids, sampling_student
from offmodel.training.rl import require_trl
from offmodel.training.sft import lora_config
from offmodel.values import Distillation


def train_distilled(
    start: Path,
    towards: Path,
    chat: ChatFormat,
    chats: Sequence[Sequence[Message]],
    settings: Distillation,
    out: Path,
    work: Path,
    on_progress: OnProgress = lambda done, total, tokens: None,
    save_every: int = 10,
    device_batch: int = 8,
    dtype: torch.dtype | None = None,
) -> None:
    """Distil one student and write its adapter to `out`, with its learning curve.

    `out` receives a PEFT adapter and `training.parquet`, a row for each update: `step`, `loss`, which is `kl`
    (KL(student || teacher) of the next token in nats, mean over the update's sampled tokens), `entropy` (of the
    student, nats a token, mean over micro-batches), `completion_tokens` (mean), `truncated` (share that met the limit),
    `grad_norm` (before clipping), `learning_rate`, `tokens` (prompts and completions), `sampled_tokens` (completions
    alone), `tokens_per_second` (sampled tokens over the whole update) and `seconds` (of sampling and learning; saving
    left out).

    On the CPUs of one machine the same seed gives the same adapter, on a GPU the same up to rounding. A run that was
    stopped continues from its last whole checkpoint in `work` and ends as it would have; `work` can be deleted when
    this returns.

    Args:
        start: checkpoint folder of the student; an adapter is merged into it beforehand.
        towards: checkpoint folder of the teacher. Switching the adapter off gives `start`, so it is loaded as well.
        chat: how the student is asked. Its ids are the prompts, and its ends of turn end an answer.
        on_progress: called after each update with the updates done, the updates in all, and the update's `tokens`.
        save_every: updates between checkpoints.
        device_batch: answers that one device learns from at once: a matter of memory and speed, not of the result.
        dtype: of the matrix products; `compute_dtype()` where it is None. LoRA weights and the optimiser are fp32.

    Raises:
        RequestError: TRL is missing, the prompts make no whole number of updates, one is too long, the vocabularies
            differ, the batch sizes do not divide, or `work` belongs to another training.
        RunError: the loss is no longer finite.
    """
    require_trl()
    updates, each = settings.updates(len(chats))
    prompts = prompt_ids(chat, chats)
    dtype = dtype or compute_dtype()
    from offmodel.training.distillation_loop import DistillationConfig, LoggingDistillation

    how = arguments(
        *(DistillationConfig, settings, updates, each, work, save_every, device_batch, dtype),
        beta=1.0,  # of the generalised Jensen-Shannon divergence: KL(student || teacher)
    )
    fingerprint = hashlib.sha256(f"{settings.canonical()} {prompts}".encode()).hexdigest()
    checkpoint = last_checkpoint(work, fingerprint)
    student = sampling_student(start, chat, prompts, settings.max_completion_tokens, dtype)
    teacher = load_checkpoint(towards, dtype)
    tokenizer, other = (AutoTokenizer.from_pretrained(folder, local_files_only=True) for folder in (start, towards))
    if tokenizer.get_vocab() != other.get_vocab() or student.config.vocab_size != teacher.config.vocab_size:
        raise RequestError(
            f"{start.name} and {towards.name} have different vocabularies: the probabilities of their tokens cannot be "
            "compared"
        )
    order = order_of_prompts(len(prompts), updates, each, settings.seed)
    trainer = LoggingDistillation(
        prompts=prompts,
        on_progress=on_progress,
        fingerprint=fingerprint,
        model=student,
        teacher_model=teacher,
        args=how,
        train_dataset=Dataset.from_dict({"prompt": [str(index) for index in order]}),
        processing_class=tokenizer,
        peft_config=lora_config(student, settings.rank, settings.alpha),
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.is_world_process_zero():
        out.mkdir(parents=True, exist_ok=True)
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(str(out))
        trainer.rows().to_parquet(out / "training.parquet", index=False)
