"""Reinforcement learning with GRPO on a checkable reward: LoRA, TRL's trainer, answers sampled by transformers.

TRL samples with vLLM too, but up to another version than the one pinned here, so this does not. What is put into its
loop stands in `grpo_loop`, what is rewarded in `rewards`, what there is to choose in `rl`.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, GenerationConfig

from offmodel.data.chat import ChatFormat, InContextChat
from offmodel.data.problems import Problem
from offmodel.errors import RequestError
from offmodel.paths import snapshot_folder
from offmodel.training import rewards
from offmodel.training.checkpoint import compute_dtype, load_checkpoint
from offmodel.training.loop import OnProgress, last_checkpoint, refuse_data_parallel
from offmodel.training.rl import require_trl
from offmodel.training.sft import lora_config
from offmodel.values import RL


def train_grpo(
    start: Path,
    chat: ChatFormat,
    problems: Sequence[Problem],
    settings: RL,
    out: Path,
    work: Path,
    on_progress: OnProgress = lambda done, total, tokens: None,
    save_every: int = 10,
    device_batch: int = 8,
    dtype: torch.dtype | None = None,
) -> None:
    """Reinforce one student and write its adapter to `out`, with its learning curve.

    `out` receives a PEFT adapter; one more in `snapshot-<update>/` for each of `settings.snapshots`; and
    `training.parquet`, a row for each update: `step`, `loss`, `reward` and `reward_std` (over all answers of the
    update), `equal_rewards` (share of answers whose group all earned the same, and so teaches nothing),
    `checker_failures` (share of answers on which the reward raised or ran out of time, and which earned 0),
    `completion_tokens` (mean), `truncated` (share that met the limit), `entropy` and `kl` (nats a token, means
    over micro-batches; the divergence is from the start, and missing where beta is 0), `grad_norm` (before clipping),
    `learning_rate`, `tokens` (prompts, each as often as it was answered, and completions), `sampled_tokens`
    (completions alone), `tokens_per_second` (sampled tokens over the whole update) and `seconds` (of sampling, judging
    and learning; saving left out).

    On one machine the same seed gives the same adapter. A run that was stopped continues from its last whole checkpoint
    in `work` and ends with the same weights; `work` can be deleted when this returns.

    Args:
        start: checkpoint folder of the student; an adapter is merged into it beforehand.
        chat: how the student is asked. Its ids are the prompts, and its ends of turn end an answer.
        on_progress: called after each update with the updates done, the updates in all, and the update's `tokens`.
        save_every: updates between checkpoints.
        device_batch: answers that one device learns from at once: a matter of memory and speed, not of the result.
        dtype: of the matrix products; `compute_dtype()` where it is None. LoRA weights and the optimiser are fp32.

    Raises:
        RequestError: TRL is missing, there are too few problems, one is too long or its answer cannot be compared, the
            batch sizes do not divide, or `work` belongs to another training.
        RunError: the loss is no longer finite, or the reward fails on every answer of an update.
    """
    require_trl()
    rewards.check_answers(settings.reward, [problem.answer for problem in problems])
    prompts = _prompt_ids(chat, problems, settings)
    dtype = dtype or compute_dtype()
    from offmodel.training.grpo_loop import LoggingGRPO

    arguments = _arguments(settings, work, save_every, device_batch, dtype)
    fingerprint = _fingerprint(prompts, problems, settings)
    checkpoint = last_checkpoint(work, fingerprint)

    def judge(asked: Sequence[int], completions: Sequence[str]) -> list[rewards.Judged]:
        return rewards.judge(rewards.REWARDS[settings.reward], completions, [problems[index].answer for index in asked])

    order = order_of_problems(len(problems), settings.updates, settings.prompts_per_update, settings.seed)
    trainer = LoggingGRPO(
        prompts=prompts,
        judge=judge,
        snapshots=settings.snapshots,
        on_progress=on_progress,
        fingerprint=fingerprint,
        model=_model(start, chat, prompts, settings, dtype),
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": [str(index) for index in order]}),
        processing_class=AutoTokenizer.from_pretrained(start, local_files_only=True),
        peft_config=lora_config(settings.rank, settings.alpha),
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.is_world_process_zero():
        out.mkdir(parents=True, exist_ok=True)
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(str(out))
        for update in settings.snapshots:
            shutil.copytree(snapshot_folder(work, update), snapshot_folder(out, update), dirs_exist_ok=True)
        trainer.rows().to_parquet(out / "training.parquet", index=False)


def order_of_problems(n: int, updates: int, per_update: int, seed: int) -> list[int]:
    """Indices of the problems in the order in which they are asked, `per_update` for each update.

    Every pass over the problems is shuffled anew and leaves out the few that fill no update, so that no problem comes
    twice in one update. Fewer updates are the beginning of more.
    """
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while len(order) < updates * per_update:
        order += torch.randperm(n, generator=generator)[: n - n % per_update].tolist()
    return order[: updates * per_update]


def _prompt_ids(chat: ChatFormat, problems: Sequence[Problem], settings: RL) -> list[list[int]]:
    if isinstance(chat, InContextChat):
        raise RequestError("a base model that is asked in context cannot be a student; train one with a chat template")
    if len(problems) < settings.prompts_per_update:
        raise RequestError(
            f"an update asks {settings.prompts_per_update} different problems and there are {len(problems)}; "
            "lower prompts_per_update"
        )
    prompts = [chat.prompt_ids(problem.messages) for problem in problems]
    for problem, ids in zip(problems, prompts, strict=True):
        if len(ids) > settings.max_prompt_tokens:
            raise RequestError(
                f"problem {problem.id} takes {len(ids)} tokens; raise max_prompt_tokens ({settings.max_prompt_tokens})"
            )
    return prompts


def _model(start: Path, chat: ChatFormat, prompts: Sequence[list[int]], settings: RL, dtype: torch.dtype) -> Any:
    model = load_checkpoint(start, dtype)
    room = getattr(model.config, "max_position_embeddings", None)
    needed = max(map(len, prompts)) + settings.max_completion_tokens
    if room is not None and needed > room:
        raise RequestError(f"prompt and answer may take {needed} tokens, {start.name} has room for {room}")
    ends = model.generation_config.eos_token_id
    ends = {*chat.stop_token_ids, *(ends if isinstance(ends, list) else [] if ends is None else [ends])}
    # Nothing else of the model's own: its top_k or repetition penalty would sample from another model than is trained.
    model.generation_config = GenerationConfig(eos_token_id=sorted(ends))
    return model


def _arguments(settings: RL, work: Path, save_every: int, device_batch: int, dtype: torch.dtype) -> Any:
    from offmodel.training.grpo_loop import GRPOConfig

    answers = settings.prompts_per_update * settings.group
    devices = int(os.environ.get("WORLD_SIZE", 1))  # asked before TRL divides by it
    if answers % (device_batch * devices):
        raise RequestError(
            f"{answers} answers an update ({settings.prompts_per_update} problems, {settings.group} answers each) are "
            f"no multiple of {device_batch} on each of {devices} devices; choose another device_batch"
        )
    arguments = GRPOConfig(
        output_dir=str(work),
        max_steps=settings.updates,
        num_generations=settings.group,
        per_device_train_batch_size=device_batch,
        gradient_accumulation_steps=answers // (device_batch * devices),  # one sampling, one optimiser step
        shuffle_dataset=False,  # the order already runs through all updates
        max_completion_length=settings.max_completion_tokens,
        temperature=settings.temperature,
        beta=settings.beta,
        loss_type=settings.loss,
        scale_rewards="none" if settings.loss == "dr_grpo" else "group",
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        bf16=dtype == torch.bfloat16,
        gradient_checkpointing=False,
        save_steps=save_every,
        save_total_limit=2,  # the newest is not yet marked whole when older ones are deleted
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
    )
    refuse_data_parallel(arguments)
    return arguments


def _fingerprint(prompts: Sequence[list[int]], problems: Sequence[Problem], settings: RL) -> str:
    digest = hashlib.sha256(settings.canonical().encode())
    for ids, problem in zip(prompts, problems, strict=True):
        digest.update(repr((ids, problem.answer)).encode())
    return digest.hexdigest()
