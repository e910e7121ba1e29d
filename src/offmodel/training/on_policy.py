"""What GRPO and distillation share: TRL trainers that learn from answers which the student has just sampled.

TRL samples with vLLM too, but up to another version than the one pinned here, so transformers samples. Importing this
imports no TRL: `offmodel.training.rl.require_trl` says beforehand whether that will do.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from transformers import GenerationConfig

from offmodel.data.chat import ChatFormat, InContextChat, Message
from offmodel.errors import RequestError
from offmodel.training.checkpoint import load_checkpoint
from offmodel.training.loop import refuse_data_parallel
from offmodel.training.trl_loop import QuietTrainer, trl_arguments
from offmodel.values import RL, Distillation

# What every TRL trainer logs, and the column it becomes.
_FIRST = {"step": "step", "loss": "loss"}
_LAST = {"grad_norm": "grad_norm", "learning_rate": "learning_rate", "seconds": "seconds"}


class OnPolicyTrainer(QuietTrainer):
    """To be inherited before one of TRL's trainers: prompts given as token ids, and a row for each update in its state.

    Args:
        prompts: token ids of each prompt; the data set's `prompt` is an index into them, written as text.
        others: what `CurveTrainer` and TRL's own trainer take.
    """

    unit: ClassVar = "update"
    logged: ClassVar[Mapping[str, str]]
    """What TRL and the trainer itself log beside loss, gradient and learning rate, and the column it becomes."""

    def __init__(self, *, prompts: Sequence[list[int]], **others: Any) -> None:
        self._prompts = prompts
        super().__init__(**others)

    def rows(self) -> pd.DataFrame:
        """The learning curve so far, one row for each update, those before a resume included."""
        logged = pd.DataFrame([row for row in self.state.log_history if "seconds" in row])
        names = {**_FIRST, **self.logged, **_LAST}
        curve = logged.reindex(columns=list(names)).rename(columns=names).astype(float).astype({"step": int})
        answers = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        sampled = (curve["completion_tokens"] * answers).round().astype(int)
        tokens = logged["num_tokens"].diff().fillna(logged["num_tokens"]).astype(int)
        curve.insert(len(curve.columns) - 1, "tokens", tokens)
        curve.insert(len(curve.columns) - 1, "sampled_tokens", sampled)
        curve.insert(len(curve.columns) - 1, "tokens_per_second", sampled / curve["seconds"])
        return curve

    def measured(self, seconds: float) -> dict[str, Any]:
        return {"seconds": seconds}

    def tokens_of_step(self) -> int:
        return int(self.rows()["tokens"].iloc[-1])

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        # TRL would apply the tokenizer's template with its own options; the ids that were trained on are these.
        return [self._prompts[int(prompt)] for prompt in prompts], None, {}


def arguments(
    config: type,
    settings: RL | Distillation,
    updates: int,
    answers: int,
    work: Path,
    save_every: int,
    device_batch: int,
    dtype: torch.dtype,
    **own: Any,
) -> Any:
    """The `config` of a TRL trainer that samples `answers` for each update and learns from them in one optimiser step.

    Raises:
        RequestError: the answers are no multiple of what all devices learn from at once.
    """
    devices = int(os.environ.get("WORLD_SIZE", 1))  # asked before TRL divides by it
    if answers % (device_batch * devices):
        raise RequestError(
            f"{answers} answers an update are no multiple of {device_batch} on each of {devices} devices; choose "
            "another device_batch"
        )
    made = config(
        **trl_arguments(settings, work, save_every, device_batch, dtype),
        max_steps=updates,
        gradient_accumulation_steps=answers // (device_batch * devices),  # one sampling, one optimiser step
        shuffle_dataset=False,  # the order already runs through all updates
        max_completion_length=settings.max_completion_tokens,
        temperature=settings.temperature,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        **own,
    )
    refuse_data_parallel(made)
    return made


def order_of_prompts(n: int, updates: int, per_update: int, seed: int) -> list[int]:
    """Indices of the prompts in the order in which they are asked, `per_update` for each update.

    Every pass over the prompts is shuffled anew and leaves out the few that fill no update, so that no prompt comes
    twice in one update. Fewer updates are the beginning of more.
    """
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = []
    while len(order) < updates * per_update:
        order += torch.randperm(n, generator=generator)[: n - n % per_update].tolist()
    return order[: updates * per_update]


def prompt_ids(chat: ChatFormat, chats: Sequence[Sequence[Message]]) -> list[list[int]]:
    """The ids after which the student's answers begin.

    Raises:
        RequestError: the student is asked in context.
    """
    if isinstance(chat, InContextChat):
        raise RequestError("a base model that is asked in context cannot be a student; train one with a chat template")
    return [chat.prompt_ids(messages) for messages in chats]


def sampling_student(
    start: Path, chat: ChatFormat, prompts: Sequence[list[int]], max_completion_tokens: int, dtype: torch.dtype
) -> Any:
    """The causal model in a checkpoint folder, whose answers end where the chat format says.

    Raises:
        RequestError: the folder is no checkpoint, or has no room for the longest prompt and answer.
    """
    model = load_checkpoint(start, dtype)
    room = getattr(model.config, "max_position_embeddings", None)
    needed = max(map(len, prompts)) + max_completion_tokens
    if room is not None and needed > room:
        raise RequestError(f"prompt and answer may take {needed} tokens, {start.name} has room for {room}")
    ends = model.generation_config.eos_token_id
    ends = {*chat.stop_token_ids, *(ends if isinstance(ends, list) else [] if ends is None else [ends])}
    # Nothing else of the model's own: its top_k or repetition penalty would sample from another model than is trained.
    model.generation_config = GenerationConfig(eos_token_id=sorted(ends))
    return model
