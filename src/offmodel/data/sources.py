"""Where every data set comes from: pinned on the hub, mirrored in a folder, or written for this repository.

Rows are brought into one form for each data set, so that hub and mirror give the same items to everything above.
"""

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offmodel.data.jsonl import read_jsonl
from offmodel.errors import RequestError
from offmodel.evaluation.answers import boxed
from offmodel.nearest import unknown
from offmodel.paths import PROMPTS, TASK_ITEMS

Row = dict[str, Any]


@dataclass(frozen=True)
class Hub:
    """A public data set."""

    repository: str
    config: str | None
    split: str
    commit: str
    mirror: str
    """Path of the same rows inside a mirror folder."""


@dataclass(frozen=True)
class Source:
    """A data set as found here. `revision` is the hub's commit, or `sha256:` and 12 digits of the file's digest."""

    name: str
    revision: str
    where: str


def _alpaca(row: Row, position: int) -> Row:
    return {"id": f"alpaca-{position}", "instruction": row["instruction"], "input": row["input"]}


def _instructions(row: Row, position: int) -> Row:
    # The hub's columns are the union of all keyword arguments, so absent ones arrive as None.
    kwargs = [{key: value for key, value in given.items() if value is not None} for given in row["kwargs"]]
    names = row["instruction_id_list"]
    level = row.get("level", len(names))
    fields = {"prompt": row["prompt"], "instruction_id_list": names, "kwargs": kwargs, "level": level}
    return {"id": str(row["key"]), "key": row["key"], **fields}


def _mmlu(row: Row, position: int) -> Row:
    return {"id": f"mmlu-{position}", **{key: row[key] for key in ("question", "choices", "answer", "subject")}}


def _math500(row: Row, position: int) -> Row:
    fields = {"level": row["level"], "subject": row["subject"]}
    return {"id": row["unique_id"], "question": row["problem"], "answers": [row["answer"]], "tolerance": None, **fields}


def _olympiads(row: Row, position: int) -> Row:
    # Every problem has one entry; where several values are asked for, the entry lists them all.
    answer = ", ".join(row["final_answer"]).replace("$", "").strip().rstrip(".")
    tolerance = float(row["error"]) if row["error"] else None
    question = f"{row['context']}\n\n{row['question']}" if row["context"] else row["question"]
    fields = {"subject": row["subfield"]}
    return {"id": str(row["id"]), "question": question, "answers": [answer], "tolerance": tolerance, **fields}


def _gsm8k(row: Row, position: int) -> Row:
    steps, _, answer = row["answer"].rpartition("####")
    level = sum(bool(line.strip()) for line in steps.split("\n"))
    fields = {"answer": answer.strip().replace(",", ""), "level": level}
    return {"id": f"gsm8k-{position}", "question": row["question"], **fields}


def _gsm8k_train(row: Row, position: int) -> Row:
    known = _gsm8k(row, position)
    steps = re.sub(r"<<[^>]*>>", "", row["answer"].rpartition("####")[0]).strip()  # notes for a calculator
    solution = f"{steps}\nThe answer is \\boxed{{{known['answer']}}}."  # in the form that the problem asks for
    return {**known, "id": f"gsm8k-train-{position}", "solution": solution}  # no id of the test split


def _numinamath(row: Row, position: int) -> Row:
    fields = {"question": row["problem"], "solution": row["solution"], "level": row["source"]}
    return {"id": f"numinamath-{position}", "answer": boxed(row["solution"]) or "", **fields}


def _as_it_is(row: Row, position: int) -> Row:
    return row


# Commits as pinned by others who publish with these data sets: inspect_evals 0.26.0 (google/IFEval, cais/mmlu,
# openai/gsm8k), public caches of `datasets` (tatsu-lab/alpaca, HuggingFaceH4/MATH-500), and several independent
# repositories for the rest.
_GSM8K = "cc7b047b6e5bb11b4f1af84efc572db110a51b3c"
HUB: dict[str, Hub] = {
    "alpaca": Hub("tatsu-lab/alpaca", None, "train", "dce01c9b08f87459cf36a430d809084718273017", "alpaca/train.jsonl"),
    "ifeval": Hub("google/IFEval", None, "train", "966cd89545d6b6acfd7638bc708b98261ca58e84", "ifeval/test.jsonl"),
    "mmlu": Hub("cais/mmlu", "all", "test", "c30699e8356da336a370243923dbaf21066bb9fe", "mmlu/test.jsonl"),
    "math500": Hub(
        "HuggingFaceH4/MATH-500", None, "test", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be", "math500/test.jsonl"
    ),
    "olympiads": Hub(
        *("Hothan/OlympiadBench", "OE_TO_maths_en_COMP", "train"),
        *("91184b52131e7fc9455fef848035173aea8cc01a", "olympiadbench/test.jsonl"),
    ),
    "gsm8k": Hub("openai/gsm8k", "main", "test", _GSM8K, "gsm8k/test.jsonl"),
    "gsm8k_train": Hub("openai/gsm8k", "main", "train", _GSM8K, "gsm8k/train.jsonl"),
    "numinamath": Hub(
        "AI-MO/NuminaMath-CoT", None, "train", "9d8d210c9f6a36c8f3cd84045668c9b7800ef517", "numinamath/train.jsonl"
    ),
}
OWN: dict[str, Path] = {
    "chat": PROMPTS / "chat.jsonl",
    "instructions": TASK_ITEMS / "instructions.jsonl",
    "knowledge": TASK_ITEMS / "knowledge.jsonl",
}
_NORMALISE: dict[str, Callable[[Row, int], Row]] = {
    "alpaca": _alpaca,
    "ifeval": _instructions,
    "instructions": _instructions,
    "mmlu": _mmlu,
    "math500": _math500,
    "olympiads": _olympiads,
    "gsm8k": _gsm8k,
    "gsm8k_train": _gsm8k_train,
    "numinamath": _numinamath,
    "chat": _as_it_is,
    "knowledge": _as_it_is,
}


def resolve(name: str, data_dir: Path | None = None) -> Source:
    """Find a data set without loading it.

    Args:
        name: a key of `HUB` or `OWN`.
        data_dir: a mirror folder; None means `$OFFMODEL_DATA`, and the hub where that is not set either.

    Raises:
        RequestError: the name is unknown, or the mirror lacks the file.
    """
    path = _file(name, data_dir)
    if path is not None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Source(name, f"sha256:{digest[:12]}", str(path))
    hub = HUB[name]
    return Source(name, hub.commit, f"hub:{hub.repository}")


def load_rows(name: str, data_dir: Path | None = None) -> list[Row]:
    """Load a data set in this project's form; every benchmark row has an `id` that is unique in it.

    Args:
        name: a key of `HUB` or `OWN`.
        data_dir: as for `resolve`.

    Raises:
        RequestError: as for `resolve`, a row lacks a column, or the hub cannot be reached.
    """
    path = _file(name, data_dir)
    where = str(path) if path is not None else f"the hub's {HUB[name].repository}"
    rows = read_jsonl(path) if path is not None else _download(name)
    normalised = []
    for position, row in enumerate(rows):
        try:
            normalised.append(_NORMALISE[name](row, position))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RequestError(
                f"{where}: row {position + 1} is not a row of '{name}' ({type(error).__name__}: {error}); "
                "compare its columns with the data set's card"
            ) from error
    return normalised


def _file(name: str, data_dir: Path | None) -> Path | None:
    """The file that holds a data set here, or None when it comes from the hub."""
    if name in OWN:
        path = OWN[name]
        if not path.is_file():
            raise RequestError(f"{path}, which belongs to this repository, is missing; restore it with git checkout")
        return path
    if name not in HUB:
        raise unknown("data set", name, [*HUB, *OWN])
    folder = data_dir or (Path(given) if (given := os.environ.get("OFFMODEL_DATA")) else None)
    if folder is None:
        return None
    path = folder / HUB[name].mirror
    if not path.is_file():
        raise RequestError(
            f"data set '{name}' is not in the mirror: {path} does not exist; "
            f"put {HUB[name].repository} there as JSON lines, or leave out --data to read it from the hub"
        )
    return path


def _download(name: str) -> list[Row]:
    from datasets import load_dataset
    from huggingface_hub import HfApi, constants

    hub = HUB[name]
    try:
        if not constants.HF_HUB_OFFLINE:  # asked first: a hub that is away is known in a moment, not after many retries
            HfApi().dataset_info(hub.repository, revision=hub.commit, timeout=20)
        loaded = load_dataset(hub.repository, hub.config, split=hub.split, revision=hub.commit)
    except Exception as error:  # unrelated types for no network, no access, no such data set, and a broken cache
        raise _unreachable(name) from error
    return [dict(row) for row in loaded]


def _unreachable(name: str) -> RequestError:
    hub = HUB[name]
    return RequestError(f"the hub's {hub.repository} cannot be reached; give --data DIR, a mirror with {hub.mirror}")
