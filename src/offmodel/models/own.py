"""Models that a preset brings along: `[models.ALIAS]`, a checkpoint of the hub or of this machine."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from offmodel.errors import RequestError
from offmodel.models.card import ModelCard
from offmodel.models.checkpoints import checkpoint_card
from offmodel.weights.checkpoints import HubCheckpoint, LocalCheckpoint, digest_of_all

_ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]*")


class OwnModel(BaseModel):
    """A chat model that is not registered.

    Attributes:
        repository, commit: its hub id and the 40 digits of a commit; or
        folder: where it is on this machine, with a chat template in its tokenizer.
        parameters: how many it has, for the estimates of `--plan`.
        template_options: passed to the chat template.
        thinking: the marks around what a reasoning model thinks before it answers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    folder: Path | None = None
    parameters: int = Field(gt=0)
    template_options: dict[str, bool | str] = {}
    thinking: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _in_one_place(self) -> Self:
        of_hub = [self.repository is not None, self.commit is not None]
        if any(of_hub) == (self.folder is not None) or any(of_hub) != all(of_hub):
            raise ValueError("give either repository and commit, or folder")
        if self.folder is not None and not self.folder.expanduser().is_absolute():
            raise ValueError(f"give the whole path of the folder, not {self.folder}")
        return self


def own_card(alias: str, own: OwnModel) -> ModelCard:
    """What the project then knows of it.

    Raises:
        RequestError: the alias cannot be part of a file's name, or the folder holds no checkpoint.
    """
    if not _ALIAS.fullmatch(alias):
        raise RequestError(f"[models.{alias}]: a name is made of small letters, digits, '.', '-' and '_'")
    if own.folder is not None:
        folder = own.folder.expanduser()
        _check_is_checkpoint(alias, folder)
        title, source = folder.name, LocalCheckpoint(folder)
    else:
        assert own.repository is not None and own.commit is not None
        title, source = own.repository, HubCheckpoint(own.repository, own.commit)
    return checkpoint_card(
        alias, title, "", own.parameters, "", source, template_options=own.template_options, thinking=own.thinking
    )


def _check_is_checkpoint(alias: str, folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        raise RequestError(
            f"[models.{alias}]: {folder} holds an adapter; merge it into its base first (PEFT's merge_and_unload)"
        )
    for needed in ("config.json", "tokenizer_config.json", "*.safetensors"):
        if not any(folder.glob(needed)):
            raise RequestError(f"[models.{alias}]: there is no {needed} in {folder}; give a whole checkpoint's folder")


def local_digest(folder: Path) -> str:
    """`digest_of_all`, read again only when a file has changed."""
    return _digest(folder, tuple((path.name, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())))


@lru_cache
def _digest(folder: Path, files: tuple[tuple[str, int], ...]) -> str:
    return digest_of_all(folder)
