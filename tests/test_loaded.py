"""What a worker keeps in memory: an engine that failed to take a model in is not asked again."""

from pathlib import Path

import pytest

from offmodel import loaded
from offmodel.errors import RunError
from offmodel.loaded import Loaded
from offmodel.recipes import Base
from offmodel.settings import Settings
from offmodel.store import Store

FIRST, SECOND = (Base(alias="smollm2-135m", weights=weights, chat="template") for weights in "ab")


class Half:
    """An engine that takes in the first model alone."""

    def load(self, folder: Path) -> None:
        raise OSError("the second half of the weights cannot be read")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    monkeypatch.setattr(Loaded, "checkpoint", lambda self, model: tmp_path)
    monkeypatch.setattr(Loaded, "chat", lambda self, model: None)
    return Loaded(Store(tmp_path), Settings(engine="vllm", runs=tmp_path))


def test_a_swap_that_failed_leaves_no_engine(asked: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded, "open_engine", lambda *how: Half())
    asked.engine(FIRST)
    asked.engine(FIRST)  # nothing is swapped
    with pytest.raises(OSError, match="second half"):
        asked.engine(SECOND)
    for model in (SECOND, FIRST):
        with pytest.raises(RunError, match=f"vllm could not take {SECOND.id} into memory; the log has the reason"):
            asked.engine(model)


def test_an_engine_that_did_not_start_is_started_once(asked: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def fail(*how: object) -> None:
        starts.append(how)
        raise MemoryError

    monkeypatch.setattr(loaded, "open_engine", fail)
    with pytest.raises(MemoryError):
        asked.engine(FIRST)
    with pytest.raises(RunError, match="could not take"):
        asked.engine(FIRST)
    assert len(starts) == 1
