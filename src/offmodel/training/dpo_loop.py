"""What is our own in TRL's DPO loop: pairs given as token ids, the learning curve, whole checkpoints.

Importing this imports TRL; `offmodel.training.rl.require_trl` says beforehand whether that will do.
"""

import warnings
from typing import Any, Final

import pandas as pd
from datasets import Dataset

from offmodel.training.trl_loop import QuietTrainer

with warnings.catch_warnings():
    # TRL names the vLLM versions it drives; nothing is sampled here.
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM", category=UserWarning)
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

__all__ = ["DPOConfig", "LoggingDPO"]

_COLUMNS: Final = {
    "step": "step",
    "loss": "loss",
    "rewards/accuracies": "reward_accuracy",
    "rewards/margins": "margin",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "logps/chosen": "chosen_logp",
    "logps/rejected": "rejected_logp",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "tokens": "tokens",
    "tokens_per_second": "tokens_per_second",
}
"""What TRL and we log, and the column it becomes."""


class LoggingDPO(QuietTrainer, DPOTrainer):
    """A DPOTrainer on pairs given as token ids (columns prompt_ids, chosen_ids and rejected_ids), that keeps a row for
    each step in its state."""

    def __init__(self, **others: Any) -> None:
        self._tokens_before = 0
        # Any id will do: padding has no attention and is not learned, and not every tokenizer has a token for it.
        super().__init__(data_collator=DataCollatorForPreference(pad_token_id=0), **others)

    def rows(self) -> pd.DataFrame:
        """The learning curve so far, one row for each optimiser step, those before a resume included."""
        logged = pd.DataFrame([row for row in self.state.log_history if "tokens_per_second" in row])
        curve = logged.reindex(columns=list(_COLUMNS)).rename(columns=_COLUMNS)
        return curve.astype({name: float for name in curve}).astype({"step": int, "tokens": int})

    def measured(self, seconds: float) -> dict[str, Any]:
        tokens = self._total_train_tokens - self._tokens_before  # TRL's total starts again at a resume
        self._tokens_before = self._total_train_tokens
        return {"tokens": tokens, "tokens_per_second": tokens / seconds}

    def tokens_of_step(self) -> int:
        return int(self.state.log_history[-1]["tokens"])

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        # TRL 1.16 tokenises every data set anew, with the tokenizer's template, its own options and tokens that may
        # merge across the border of prompt and answer. These ids are the ones that SFT learns and an engine generates.
        return dataset
