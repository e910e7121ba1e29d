"""How a study is run: folders, engine, batch sizes. Nothing here changes a result or the name of an artefact."""

import importlib.util
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from offmodel.errors import RequestError
from offmodel.paths import RUNS

EngineName = Literal["vllm", "transformers"]


class Settings(BaseModel):
    """Running settings; handed to every worker as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: Path = Field(default_factory=lambda: Path(os.environ.get("OFFMODEL_RUNS", RUNS)))
    data: Path | None = Field(default_factory=lambda: Path(d) if (d := os.environ.get("OFFMODEL_DATA")) else None)
    models: Path | None = Field(default_factory=lambda: Path(d) if (d := os.environ.get("OFFMODEL_MODELS")) else None)
    engine: EngineName = "transformers"
    # Answers that an engine works on at once, and that one journal entry holds: a killed run repeats at most these.
    chunk: int = Field(default=128, gt=0)
    max_num_seqs: int = Field(default=64, gt=0)
    # Examples in one forward pass of training; gradients accumulate up to the recipe's batch size.
    device_batch: int = Field(default=8, gt=0)
    # Optimiser steps between training checkpoints.
    save_every: int = Field(default=16, gt=0)


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
