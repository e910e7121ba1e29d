"""What is our own in TRL's DPO loop: pairs given as token ids, the learning curve, whole checkpoints.

Importing this imports TRL; `offmodel.training.rl.require_trl` says beforehand whether that will do.
"""

import math
import time
import warnings
from pathlib import Path
from typing import Any, Final

import pandas as pd
from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback

from offmodel.errors import RunError
from offmodel.training.loop import OnProgress, mark_whole

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


class LoggingDPO(DPOTrainer):
    """A DPOTrainer on pairs given as token ids (columns prompt_ids, chosen_ids and rejected_ids), that keeps a row for
    each step in its state."""

    def __init__(self, *, on_progress: OnProgress, fingerprint: str, **of_trl: Any) -> None:
        self._on_progress, self._fingerprint = on_progress, fingerprint
        self._step_began: float | None = None
        self._tokens_before = 0
        # Any id will do: padding has no attention and is not learned, and not every tokenizer has a token for it.
        super().__init__(data_collator=DataCollatorForPreference(pad_token_id=0), **of_trl)
        self.remove_callback(PrinterCallback)

    def rows(self) -> pd.DataFrame:
        """The learning curve so far, one row for each optimiser step, those before a resume included."""
        logged = pd.DataFrame([row for row in self.state.log_history if "tokens_per_second" in row])
        curve = logged.reindex(columns=list(_COLUMNS)).rename(columns=_COLUMNS)
        return curve.astype({name: float for name in curve}).astype({"step": int, "tokens": int})

    # ---- what TRL calls

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        # TRL 1.16 tokenises every data set anew, with the tokenizer's template, its own options and tokens that may
        # merge across the border of prompt and answer. These ids are the ones that SFT learns and an engine generates.
        return dataset

    def _send_telemetry(self) -> None:
        """Nothing is told to anyone: TRL would report each run to its makers."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: TRL would write one into every checkpoint."""

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        self._step_began = self._step_began or time.perf_counter()
        return super().training_step(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "grad_norm" not in logs:  # the summary after the last step
            return
        step = self.state.global_step
        if not (math.isfinite(logs["loss"]) and math.isfinite(logs["grad_norm"])):
            raise RunError(
                f"training diverged at step {step} of {self.state.max_steps} (loss {logs['loss']}, gradient norm "
                f"{logs['grad_norm']}); lower learning_rate"
            )
        assert self._step_began is not None
        tokens = self._total_train_tokens - self._tokens_before  # TRL's total starts again at a resume
        speed = tokens / (time.perf_counter() - self._step_began)
        self._step_began, self._tokens_before = None, self._total_train_tokens
        super().log({**logs, "tokens": tokens, "tokens_per_second": speed}, start_time)
        self._on_progress(step, self.state.max_steps, int(tokens))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            mark_whole(Path(str(self.args.output_dir)), self.state.global_step, self._fingerprint)
