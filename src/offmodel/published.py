"""Numbers of the DFT paper (Wu et al., 2025, arXiv 2508.05629), and where they may stand beside ours."""

from typing import Final

from offmodel.evaluation.registry import TASKS

_STUDENT: Final = "qwen2.5-math-1.5b"
_SAMPLES: Final = 16
SOURCE: Final = (
    "arXiv 2508.05629, students trained on 100,000 problems of NuminaMath-CoT, where student, problems and k are the "
    "same and weights were full"
)
# Accuracy in per cent, mean of 16 answers at temperature 1 to all problems of the benchmark, after training of full
# weights: on NuminaMath's solutions, and its table on offline RL (GRPO is online).
_ACCURACY: Final = {
    "math500": {"untrained": 31.66, "sft": 43.76, "dft": 64.89, "iw_sft": 59.38, "dpo": 46.89, "rft": 48.23,
                "grpo": 62.86, "offline_dft": 64.71, "offline_iw_sft": 60.80},
    "olympiads": {"untrained": 15.88, "sft": 12.63, "dft": 27.08, "iw_sft": 26.82, "dpo": 22.86, "rft": 22.29,
                  "grpo": 28.62, "offline_dft": 30.93, "offline_iw_sft": 27.83},
}  # fmt: skip


def published_accuracy(
    student: str, arm: str, task: str, n: int, samples: int, adapter: str | None = None
) -> float | None:
    """The paper's accuracy of an arm, a share, where the same is measured: its student, all problems of the task, as
    many answers to each, and full weights (`adapter` "full", or None where nothing was trained); else None. What was
    trained on, and for how long, is not looked at: `SOURCE` has to be said beside it."""
    if task not in _ACCURACY or n != TASKS[task].items or samples != _SAMPLES:
        return None
    percent = _ACCURACY[task].get(arm) if student == _STUDENT and adapter != "lora" else None
    return None if percent is None else percent / 100
