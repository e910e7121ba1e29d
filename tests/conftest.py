"""Fixtures that several tests share: the two pocket models, converted once, and this repository's scripts."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offmodel.models import model
from offmodel.paths import ROOT
from offmodel.settings import Settings
from offmodel.store import Store

pytest_plugins = ["tiny_student"]

SMOKE = ROOT / "tests" / "presets" / "smoke.toml"
CONVERTER = ROOT / "src" / "offmodel" / "weights" / "gguf.py"


@pytest.fixture(scope="session")
def shared_store() -> Store:
    """Where the pocket models are kept between sessions, anew whenever the converter changes."""
    version = hashlib.sha256(CONVERTER.read_bytes()).hexdigest()[:10]
    return Store(Settings().runs / "tests" / f"converter-{version}")


def _converted(alias: str, store: Store) -> Path:
    pytest.importorskip("torch", reason="the pocket models need the extra `cpu` or `gpu`")
    from offmodel.builders import Workshop
    from offmodel.provenance import provenance

    base = model(alias)
    with Workshop(store, Settings(runs=store.root)) as workshop:
        started = time.time()
        store.make(
            base,
            lambda out, scratch: workshop.build(base, out, scratch),
            lambda: provenance(base, started, **workshop.details),
        )
    return store.require(base)


@pytest.fixture(scope="session")
def smollm2(shared_store: Store) -> Path:
    """The checkpoint folder of SmolLM2-135M-Instruct."""
    return _converted("smollm2-135m", shared_store)


@pytest.fixture(scope="session")
def gemma3(shared_store: Store) -> Path:
    """The checkpoint folder of Gemma-3-270M (base)."""
    return _converted("gemma3-270m", shared_store)


@pytest.fixture(scope="session")
def run_folder_with_models(smollm2: Path, gemma3: Path, tmp_path_factory: pytest.TempPathFactory):
    """Makes fresh run folders in which only the two converted models are there."""

    def make() -> Path:
        runs = tmp_path_factory.mktemp("runs")
        (runs / "base").mkdir()
        for folder in (smollm2, gemma3):
            target = runs / "base" / folder.name
            target.mkdir()
            for file in folder.iterdir():
                os.link(file, target / file.name) if _same_disk(file, target) else target.joinpath(
                    file.name
                ).write_bytes(file.read_bytes())
        return runs

    return make


def _same_disk(a: Path, b: Path) -> bool:
    return a.stat().st_dev == b.stat().st_dev


def study_command(*arguments: str, script: str = "01_degradation.py") -> list[str]:
    return [sys.executable, str(ROOT / "experiments" / script), *arguments]


def run_study(
    *arguments: str, script: str = "01_degradation.py", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a numbered script as a user does."""
    return subprocess.run(
        study_command(*arguments, script=script),
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )
