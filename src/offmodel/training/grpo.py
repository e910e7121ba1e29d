"""Reinforcement learning with GRPO on a checkable reward: LoRA, TRL's trainer, answers sampled by transformers.

What is put into its loop stands in `on_policy` and `grpo_loop`, what is rewarded in `rewards`.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoTokenizer

from offmodel.data.chat import ChatFormat
from offmodel.data.problems import Problem
from offmodel.errors import RequestError
from offmodel.paths import snapshot_folder
from offmodel.training import rewards
from offmodel.training.checkpoint import compute_dtype
from offmodel.training.loop import OnProgress, last_checkpoint
from offmodel.training.on_policy import arguments, order_of_prompts, prompt_ids, sampling_student
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

    On the CPUs of one machine the same seed gives the same adapter, on a GPU the same up to rounding. A run that was
    stopped continues from its last whole checkpoint in `work` and ends as it would have; `work` can be deleted when
    this returns.

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
    from offmodel.training.grpo_loop import GRPOConfig, LoggingGRPO

    answers = settings.prompts_per_update * settings.group
    how = arguments(
        *(GRPOConfig, settings, settings.updates, answers, work, save_every, device_batch, dtype),
        num_generations=settings.group,
        beta=settings.beta,
        loss_type=settings.loss,
        scale_rewards="none" if settings.loss == "dr_grpo" else "group",
    )
    fingerprint = _fingerprint(prompts, problems, settings)
    checkpoint = last_checkpoint(work, fingerprint)

    def judge(asked: Sequence[int], completions: Sequence[str]) -> list[rewards.Judged]:
        return rewards.judge(rewards.REWARDS[settings.reward], completions, [problems[index].answer for index in asked])

    order = order_of_prompts(len(problems), settings.updates, settings.prompts_per_update, settings.seed)
    student = sampling_student(start, chat, prompts, settings.max_completion_tokens, dtype)
    trainer = LoggingGRPO(
        prompts=prompts,
        judge=judge,
        snapshots=settings.snapshots,
        on_progress=on_progress,
        fingerprint=fingerprint,
        model=student,
        args=how,
        train_dataset=Dataset.from_dict({"prompt": [str(index) for index in order]}),
        processing_class=AutoTokenizer.from_pretrained(start, local_files_only=True),
        peft_config=lora_config(student, settings.rank, settings.alpha),
    )
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.is_world_process_zero():
        out.mkdir(parents=True, exist_ok=True)
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(str(out))
        for update in settings.snapshots:
            shutil.copytree(snapshot_folder(work, update), snapshot_folder(out, update), dirs_exist_ok=True)
        trainer.rows().to_parquet(out / "training.parquet", index=False)


def _prompt_ids(chat: ChatFormat, problems: Sequence[Problem], settings: RL) -> list[list[int]]:
    if len(problems) < settings.prompts_per_update:
        raise RequestError(
            f"an update asks {settings.prompts_per_update} different problems and there are {len(problems)}; "
            "lower prompts_per_update"
        )
    prompts = prompt_ids(chat, [problem.messages for problem in problems])
    for problem, ids in zip(problems, prompts, strict=True):
        if len(ids) > settings.max_prompt_tokens:
            raise RequestError(
                f"problem {problem.id} takes {len(ids)} tokens; raise max_prompt_tokens ({settings.max_prompt_tokens})"
            )
    return prompts


def _fingerprint(prompts: Sequence[list[int]], problems: Sequence[Problem], settings: RL) -> str:
    digest = hashlib.sha256(settings.canonical().encode())
    for ids, problem in zip(prompts, problems, strict=True):
        digest.update(repr((ids, problem.answer)).encode())
    return digest.hexdigest()
