"""How a study is run: folders, engine, batch sizes. Nothing here is part of what a result is or of an artefact's name.

Engines and batch sizes round differently, so a close choice of a token can still fall the other way: use one engine and
one set of sizes for all arms of a comparison. Provenance names the engine.
"""

import importlib.util
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from offmodel.errors import RequestError
from offmodel.models.own import OwnModel
from offmodel.paths import RUNS

EngineName = Literal["vllm", "transformers"]


class Running(BaseModel):
    """What a preset may say of how it is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Answers that an engine works on at once, and that one journal entry holds: a killed run repeats at most these.
    chunk: int = Field(default=128, gt=0)
    max_num_seqs: int = Field(default=64, gt=0)
    # The share of a GPU's memory that vLLM takes: less where a display or another program holds some.
    gpu_memory: float = Field(default=0.9, gt=0, le=1)
    # Write the rest of a greedy answer that ends in a loop, instead of computing it (`engines.loops`).
    fill_loops: bool = False
    # Prompt and answer together, in tokens: what vLLM makes room for, of what a model can take. It cuts no answer: one
    # for which there may be no room is refused.
    context: int = Field(default=8192, gt=0)
    # Examples in one forward pass of training, at most; gradients accumulate up to the recipe's batch size.
    device_batch: int = Field(default=8, gt=0)
    # SFT keeps the inputs of layers alone for its way back and computes the rest twice: less memory, a third more time.
    gradient_checkpointing: bool = False
    # Optimiser steps between training checkpoints.
    save_every: int = Field(default=16, gt=0)


def _folder(variable: str) -> Path | None:
    """A folder named by the environment; an empty name is none."""
    return Path(named) if (named := os.environ.get(variable)) else None


class Settings(Running):
    """All running settings; handed to every worker as JSON."""

    runs: Path = Field(default_factory=lambda: _folder("OFFMODEL_RUNS") or RUNS)
    data: Path | None = Field(default_factory=lambda: _folder("OFFMODEL_DATA"))
    models: Path | None = Field(default_factory=lambda: _folder("OFFMODEL_MODELS"))
    engine: EngineName = "transformers"
    own_models: dict[str, OwnModel] = {}  # of the preset


def choose_engine(asked: str) -> EngineName:
    """The engine that a run uses.

    Args:
        asked: `auto` takes vLLM where it is installed; `vllm` and `transformers` insist.

    Raises:
        RequestError: vLLM was asked for and is not installed.
    """
    installed = importlib.util.find_spec("vllm") is not None
    if asked == "vllm" and not installed:
        raise RequestError("vLLM is not installed here; install the extra `cpu` or `gpu`, or use --engine transformers")
    if asked == "transformers" or not installed:
        return "transformers"
    return "vllm"
