"""Invented results of script 17: items with several samples of each problem, and the trainings step by step."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from fixture_items import tiny_items

from offmodel.offline_compared import ARMS

SAMPLED, TRAINED = 50_000, 20_000
"""Tokens of each training under seed 0; a seed adds 1,000."""


def made_up_offline(
    student: str = "small", seeds: Sequence[int] = (0,), n: int = 20, samples: int = 4, adapter: str = "lora",
    arms: Sequence[str] = ARMS, tasks: Sequence[str] = ("gsm8k",),
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Items and curves; each arm is better than the one before it."""
    rows, steps = [], []
    for (number, arm), task in ((one, task) for one in enumerate(arms) for task in tasks):
        untrained = arm == "untrained"
        about = {"experiment": "17_offline_rl", "student": student, "arm": arm}
        about |= {"task": task, "task_title": task.upper()}
        about |= {} if untrained else {"teacher": student, "objective": arm, "adapter": adapter}
        for seed in seeds[:1] if untrained else seeds:
            draw = np.random.default_rng([number, seed])
            right = draw.random((n, samples)) < 0.2 + 0.1 * number
            rows += [
                about | {"seed": seed, "sample": k, "item": f"i{i:03d}", "correct": bool(right[i, k])}
                for i in range(n)
                for k in range(samples)
            ]
            if not untrained and task == tasks[0]:
                first = {"step": 1, "tokens": TRAINED, "sampled_tokens": SAMPLED + 1000 * seed}
                last = {"step": 2, "tokens": 1000 * seed, "sampled_tokens": 0}
                steps += [about | {"seed": seed} | step for step in (first, last)]
    return tiny_items(rows), pd.DataFrame(steps)
