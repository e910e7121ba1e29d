"""From finished artefacts to the tidy tables that statistics, figures and notebooks read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from offmodel.cells import Measurement
from offmodel.evaluation.registry import TASKS
from offmodel.math_training import token_bins
from offmodel.recipes import (
    Accepted,
    Base,
    Completions,
    Distilled,
    Mixture,
    Model,
    Preferences,
    Preferred,
    Reinforced,
    Scrambled,
    Snapshot,
    SolutionsInstead,
    Trained,
)
from offmodel.store import Store
from offmodel.study import Experiment, Reading


def collect(
    experiment: Experiment, cells: Sequence[Measurement], store: Store, published: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """One row for each arm, seed, task and problem: the columns of `offmodel.results`, `response`, the answer, and
    `home_logprob`, the mean of its tokens' log-probabilities under the untrained student in nats, null where that was
    not read or there is no token.

    Scores that are `published` (`earlier.Earlier.scores`) are taken from there; cells whose scores are neither there
    nor finished are left out.
    """
    frames = []
    for cell in cells:
        if cell.scores.id in published:
            items = published[cell.scores.id]
        elif store.is_done(cell.scores):
            items = _scored(cell, store)
        else:
            continue
        card = TASKS[cell.task.task.name]
        columns = {
            "experiment": experiment.name,
            "arm": cell.arm.name,
            **_described(cell),
            "seed": cell.arm.seed,
            "task": cell.task.task.name,
            "task_title": card.title,
            "kind": card.kind,
            "chance": card.chance,
            "model_id": cell.arm.model.id,
            "scores_id": cell.scores.id,
        }
        frames.append(items.assign(**columns))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _scored(cell: Measurement, store: Store) -> pd.DataFrame:
    """A row for each problem and sample of a finished cell."""
    items = pd.read_parquet(store.folder(cell.scores) / "items.parquet").drop(columns="response_ids", errors="ignore")
    if "sample" not in items:  # made when there was one of each
        items["sample"] = 0
    return items.assign(home_logprob=items["item"].map(_home_logprobs(cell, store)).astype(float))


def chat_answers(
    cells: Sequence[Measurement], store: Store, others: Sequence[Completions] = ()
) -> dict[str, pd.DataFrame]:
    """By teacher, what each untrained model, or a scrambler, answered to the chat prompts that arms were trained on.

    `others` are looked for beside them: an experiment without an on-model arm has its student's there.
    Columns: those of `completions.parquet`. The answers of several seeds follow each other; the same answer to the same
    prompt, which is in a smaller set of prompts and in a larger, is there once.
    """
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for data in [*chats(cells), *others]:
        if store.is_done(data):
            answers = found.setdefault(data.teacher, {})
            answers[data.id] = pd.read_parquet(store.folder(data) / "completions.parquet")
    joined = {alias: pd.concat(answers.values(), ignore_index=True) for alias, answers in found.items()}
    return {alias: table.drop_duplicates(["prompt_id", "answer"], ignore_index=True) for alias, table in joined.items()}


def chats(cells: Sequence[Measurement]) -> list[Completions | Scrambled]:
    """What arms were trained on, by models that were not."""
    return list(dict.fromkeys(data for cell in cells for data in _learnt_from(cell.arm.model)))


def has_style(cells: Sequence[Measurement]) -> bool:
    """Whether there are written answers of arms that learned from another model, of which `style` says how foreign they
    are."""
    written = any(TASKS[cell.task.task.name].kind == "generate" for cell in cells)
    return written and any(data.teacher != cell.arm.model.student for cell in cells for data in chats([cell]))


def _learnt_from(model: Model) -> Iterator[Completions | Scrambled]:
    """The data of all trainings that a model went through, mixtures by their parts; no answers of trained models."""
    for made in reversed(model.served_from):
        if isinstance(made, Trained):
            parts = (made.data.of, made.data.other) if isinstance(made.data, Mixture) else (made.data,)
            for data in parts:
                if isinstance(data, Scrambled) or (isinstance(data, Completions) and isinstance(data.model, Base)):
                    yield data


def training_curves(experiment: Experiment, cells: Sequence[Measurement], store: Store) -> pd.DataFrame:
    """One row for each arm, seed and step of its last training: the arm's columns as in `collect`, and those of
    `training.parquet` (`training.sft`, `training.dpo`, `training.grpo`, `training.distillation`), with `_of_step` after
    a name that is the arm's parameter. `sampled_tokens` are those of the student's answers that a step learned from;
    where they were all drawn beforehand, the first step has them all."""
    frames: dict[str, pd.DataFrame] = {}
    for cell in cells:
        model, arm = cell.arm.model, cell.arm
        key = f"{arm.name} {arm.seed} {arm.parameters} {model.id}"
        trained = isinstance(model, Trained | Reinforced | Preferred | Distilled)
        if key in frames or not trained or not store.is_done(model):
            continue
        curve = pd.read_parquet(store.folder(model) / "training.parquet")
        if (drawn := _drawn_tokens(model, store)) is not None:
            curve["sampled_tokens"] = [drawn] + [0] * (len(curve) - 1)
        curve = curve.rename(columns={name: f"{name}_of_step" for name in arm.parameters})
        frames[key] = curve.assign(experiment=experiment.name, arm=arm.name, **_described(cell), seed=arm.seed)
    return pd.concat(frames.values(), ignore_index=True) if frames else pd.DataFrame()


def _drawn_tokens(model: Model, store: Store) -> int | None:
    """Tokens of the samples that a model's data were chosen from; None where it has no such data, or they are gone."""
    data = model.data if isinstance(model, Trained | Preferred) else None
    data = data.of if isinstance(data, SolutionsInstead) else data
    if not isinstance(data, Accepted | Preferences) or not all(map(store.is_done, data.of)):
        return None
    folders = [store.folder(one) for one in data.of]
    return sum(int(pd.read_parquet(folder / "completions.parquet")["answer_tokens"].sum()) for folder in folders)


def read_answers(experiment: Experiment, readings: Sequence[Reading], store: Store) -> pd.DataFrame:
    """One row for each answer that was read: experiment, reading (its name), its parameters, seed, reader (the model's
    alias), writer, key (of the prompt or item), tokens, and logprob, the sum over those tokens in nats.

    Readings that are not finished are left out.
    """
    frames = []
    for reading, tokens in _finished(readings, store):
        columns = {
            **_read(experiment, reading),
            "key": tokens["key"],
            "tokens": [len(values) for values in tokens["logprobs"]],
            "logprob": [float(np.sum(values)) for values in tokens["logprobs"]],
            "likelihood_id": reading.likelihood.id,
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def token_probabilities(experiment: Experiment, readings: Sequence[Reading], store: Store) -> pd.DataFrame:
    """How many of the tokens that were read have which probability, a row for each reading and bin.

    Columns: experiment, reading, its parameters, seed, reader and writer as in `read_answers`, and those of
    `math_training.token_bins`. Readings that are not finished are left out.
    """
    frames = []
    for reading, tokens in _finished(readings, store):
        bins = token_bins([value for row in tokens["logprobs"] for value in row])
        frames.append(bins.assign(**_read(experiment, reading)))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _finished(readings: Sequence[Reading], store: Store) -> Iterator[tuple[Reading, pd.DataFrame]]:
    """The readings that are there, each with its tokens' log-probabilities."""
    for reading in readings:
        if store.is_done(reading.likelihood):
            yield reading, pd.read_parquet(store.folder(reading.likelihood) / "tokens.parquet")


def _read(experiment: Experiment, reading: Reading) -> dict[str, Any]:
    """What tells a reading from others."""
    return {
        "experiment": experiment.name,
        "reading": reading.name,
        **reading.parameters,
        "seed": reading.seed,
        "reader": reading.likelihood.model.student,
        "writer": reading.likelihood.writer,
    }


def _home_logprobs(cell: Measurement, store: Store) -> dict[str, float]:
    """By item, the mean log-probability of the answer's tokens under the untrained student."""
    if cell.likelihood is None or not store.is_done(cell.likelihood):
        return {}
    tokens = pd.read_parquet(store.folder(cell.likelihood) / "tokens.parquet")
    return {key: float(np.mean(row)) for key, row in zip(tokens["key"], tokens["logprobs"], strict=True) if len(row)}


def _described(cell: Measurement) -> dict[str, Any]:
    """Student, teacher, objective and kind of weights, read off the recipe; the arm's own parameters after them."""
    made = cell.arm.model
    whole = made.of if isinstance(made, Snapshot) else made
    described: dict[str, Any] = {"student": made.student, "teacher": None, "objective": None, "adapter": None}
    if isinstance(whole, Trained):
        described |= {"teacher": whole.teacher, "objective": whole.training.objective, "adapter": whole.training.method}
    if isinstance(whole, Preferred):
        described |= {"teacher": whole.teacher, "objective": "dpo", "adapter": "lora"}
    if isinstance(whole, Reinforced):
        described |= {"objective": "grpo", "adapter": "lora"}
    if isinstance(made, Distilled):
        described |= {"teacher": made.teacher, "objective": "reverse_kl", "adapter": "lora"}
    return described | cell.arm.parameters
