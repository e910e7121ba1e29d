"""The items of each task as lm-eval wants them: one function a task, called through `custom_dataset`.

lm-eval hands over the task's metadata (which holds the model's arguments too) and `dataset_kwargs`. Read are `n`,
`draw_seed` and `data_dir`, for example `--metadata '{"n": 50, "draw_seed": 1}'`. The draw is not called `seed`,
because some models take an argument of that name. Defaults are in `offmodel.evaluation.registry`.
"""

from pathlib import Path
from typing import Any

from datasets import Dataset

from offmodel.evaluation.punkt import ensure_punkt, needs_punkt
from offmodel.evaluation.registry import load_items


def _items(
    name: str, n: int | None = None, draw_seed: int = 0, data_dir: str | Path | None = None, **_: Any
) -> dict[str, Dataset]:
    rows = load_items(name, n, draw_seed, Path(data_dir) if data_dir else None)
    if any(needs_punkt(row.get("instruction_id_list", ())) for row in rows):
        ensure_punkt()  # now, not when the first answers are scored
    return {"test": Dataset.from_list(rows)}


def instructions(**options: Any) -> dict[str, Dataset]:
    return _items("instructions", **options)


def knowledge(**options: Any) -> dict[str, Dataset]:
    return _items("knowledge", **options)


def arithmetic(**options: Any) -> dict[str, Dataset]:
    return _items("arithmetic", **options)


def ifeval(**options: Any) -> dict[str, Dataset]:
    return _items("ifeval", **options)


def mmlu(**options: Any) -> dict[str, Dataset]:
    return _items("mmlu", **options)


def math500(**options: Any) -> dict[str, Dataset]:
    return _items("math500", **options)


def olympiads(**options: Any) -> dict[str, Dataset]:
    return _items("olympiads", **options)


def gsm8k(**options: Any) -> dict[str, Dataset]:
    return _items("gsm8k", **options)
