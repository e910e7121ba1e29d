"""What a worker keeps because it is dear to start: one engine whose weights are swapped from model to model, or one
base that student after student is trained on, or one model that reads answers; and one merged checkpoint."""

import gc
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from offmodel.data.chat import ChatFormat, load_chat_format
from offmodel.engines.base import Engine, open_engine
from offmodel.errors import RequestError, RunError
from offmodel.models import MODELS
from offmodel.objective_names import OBJECTIVES
from offmodel.paths import snapshot_folder
from offmodel.progress import terminal
from offmodel.recipes import Base, Distilled, Model, Reinforced, Scripted, Snapshot, Trained
from offmodel.settings import Settings
from offmodel.store import Store


class Loaded:
    """Models in memory, one purpose at a time: asking for another drops what was there."""

    def __init__(self, store: Store, settings: Settings):
        self._store, self._settings = store, settings
        self._engine: Engine | None = None
        self._serving: Model | None = None
        self._trainer: Any = None
        self._reader: Any = None
        self._of: Model | None = None  # whom the trainer or the reader holds
        self._unusable = ""  # why no engine can be had in this process any more
        self._merged: dict[str, Path] = {}
        self._temporary: Path | None = None

    def close(self) -> None:
        """Remove merged checkpoints."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def engine(self, model: Model) -> tuple[Engine, ChatFormat]:
        """The engine with this model's weights in it, and how the model is talked to.

        Raises:
            RunError: it did not start, or failed between two models, before this.
        """
        if self._unusable:
            raise RunError(f"{self._unusable}; the log has the reason, and the same command goes on from here")
        folder = self.checkpoint(model)
        # Starting takes a minute and would fail again; a swap that fails may leave parts of both models.
        self._unusable = f"{self._settings.engine} could not take {model.id} into memory"
        if self._engine is None:
            self.drop()
            print(f"starting {self._settings.engine} on {model.student}", file=terminal())
            given = self._settings
            how = given.max_num_seqs, given.context, given.gpu_memory, given.fill_loops
            self._engine = open_engine(given.engine, folder, *how)
        elif self._serving != model:
            self._engine.load(folder)
        self._unusable, self._serving = "", model
        return self._engine, self.chat(model)

    def trainer(self, start: Model) -> Any:
        """A `StudentTrainer` whose students start as this model."""
        from offmodel.training.sft import StudentTrainer

        folder = self.checkpoint(start)
        if self._trainer is None or self._of != start:
            self.drop()
            self._trainer, self._of = StudentTrainer(folder), start
        gc.collect()  # the last training's Trainer is in a cycle, with full weights and their moments in it
        return self._trainer

    def reader(self, model: Model) -> Any:
        """A `Reader` with this model's weights."""
        from offmodel.evaluation.likelihood import Reader

        folder = self.checkpoint(model)
        if self._reader is None or self._of != model:
            self.drop()
            self._reader, self._of = Reader(folder), model
        return self._reader

    def drop(self) -> None:
        """Free the memory for a purpose of another kind."""
        self._engine, self._serving, self._trainer, self._reader, self._of = None, None, None, None, None
        gc.collect()

    def chat(self, model: Model) -> ChatFormat:
        """How the model is talked to."""
        card = MODELS[model.student]
        assert card.chat != "api", "a model behind a network has no checkpoint"
        return load_chat_format(self.checkpoint(model), card.chat, card.template_options)

    def checkpoint(self, model: Model) -> Path:
        """A full checkpoint folder of the model: the base's artefact, or its adapters merged into a temporary one."""
        if isinstance(model, Base):
            if MODELS[model.alias].chat == "api":
                raise RequestError(f"{model.alias} is asked over the network: it has no weights to train or to score")
            return self._store.require(model)
        if isinstance(model, Scripted):
            raise RequestError(f"{model.id} is a rule and has no weights")
        whole = model.of if isinstance(model, Snapshot) else model
        made = self._store.require(whole)
        if isinstance(model, Snapshot):
            made = snapshot_folder(made, model.step)
        full = isinstance(whole, Trained) and whole.training.method == "full"
        return made if full else self._merge(model, whole.start, made)

    def _merge(self, model: Model, onto: Model, adapter: Path) -> Path:
        if model.id in self._merged:
            return self._merged[model.id]
        from offmodel.training.merge import merge

        start = self.checkpoint(onto)
        if self._temporary is None:
            self._temporary = _merged_folder(self._store.root / "work")
        folder = self._temporary / model.id
        merge(start, adapter, folder, may_be_empty=may_be_empty(model))
        # A merged checkpoint is as large as its base: one is kept, for the engine reads it only once.
        for of_another in self._merged.values():
            shutil.rmtree(of_another)
        self._merged = {model.id: folder}
        return folder


def may_be_empty(model: Model) -> bool:
    """Whether a training that leaves every weight as it was can be a result."""
    if isinstance(model, Trained):
        return OBJECTIVES[model.training.objective].may_learn_nothing
    return isinstance(model, Reinforced | Distilled | Snapshot)


def _merged_folder(work: Path) -> Path:
    """A folder of this process's own; those of processes of this machine that were killed are removed."""
    machine = platform.node() or "machine"
    for folder in work.glob(f"merged-{machine}-*"):
        owner = folder.name.removeprefix(f"merged-{machine}-")
        if owner.isdecimal() and (int(owner) == os.getpid() or not _alive(int(owner))):
            shutil.rmtree(folder, ignore_errors=True)
    mine = work / f"merged-{machine}-{os.getpid()}"
    mine.mkdir(parents=True)
    return mine


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
