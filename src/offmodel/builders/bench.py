"""What every builder works with."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from offmodel.data.chat import ChatFormat
from offmodel.engines.base import Engine
from offmodel.loaded import Loaded
from offmodel.recipes import Data, Model
from offmodel.settings import Settings
from offmodel.store import Store

COMPLETIONS = "completions.parquet"
PREFERENCES = "preferences.parquet"


@dataclass
class Bench:
    """Finished artefacts, models in memory, and what provenance will add (`details`) for the one being made."""

    store: Store
    settings: Settings
    loaded: Loaded
    details: dict[str, Any] = field(default_factory=dict)

    def completions(self, data: Data) -> pd.DataFrame:
        return pd.read_parquet(self.store.require(data) / COMPLETIONS)

    def serve(self, model: Model) -> tuple[Engine, ChatFormat]:
        """The engine with this model in it."""
        self.details["engine"] = self.settings.engine
        if self.settings.fill_loops:
            self.details["fill_loops"] = True
        return self.loaded.engine(model)
