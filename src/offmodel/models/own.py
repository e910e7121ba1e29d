"""Models that a preset brings along: `[models.ALIAS]`, a checkpoint of the hub or of this machine, or a server's."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from offmodel.engines.provider import ApiModel
from offmodel.errors import RequestError
from offmodel.models.card import ModelCard
from offmodel.models.checkpoints import checkpoint_card
from offmodel.models.network import network_card
from offmodel.weights.checkpoints import HubCheckpoint, LocalCheckpoint, digest_of_all, weights_in

_ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]*")


class OwnModel(BaseModel):
    """A chat model that is not registered.

    Attributes:
        repository, commit: its hub id and the 40 digits of a commit; or
        folder: where it is on this machine, with a chat template in its tokenizer; or
        served_as, url: what an OpenAI-compatible server calls it, and the address before `/chat/completions`. It can
            teach alone.
        parameters: how many it has, for the estimates of `--plan`; a served one needs none.
        template_options: passed to the chat template.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = None
    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    folder: Path | None = None
    served_as: Annotated[str, Field(min_length=1)] | None = None
    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    parameters: int = Field(default=0, ge=0)
    template_options: dict[str, bool | str] = {}

    @model_validator(mode="after")
    def _in_one_place(self) -> Self:
        places = [(self.repository, self.commit), (self.folder,), (self.served_as, self.url)]
        named = [place for place in places if any(part is not None for part in place)]
        if len(named) != 1 or None in named[0]:
            raise ValueError("give repository and commit, or folder, or served_as and url: one of these")
        if self.folder is not None and not self.folder.expanduser().is_absolute():
            raise ValueError(f"give the whole path of the folder, not {self.folder}")
        if not self.parameters and self.served_as is None:
            raise ValueError("say how many parameters it has: --plan counts with them")
        return self


def own_card(alias: str, own: OwnModel) -> ModelCard:
    """What the project then knows of it.

    Raises:
        RequestError: the alias cannot be part of a file's name, or the folder holds no checkpoint.
    """
    if not _ALIAS.fullmatch(alias):
        raise RequestError(f"[models.{alias}]: a name is made of small letters, digits, '.', '-' and '_'")
    if own.served_as is not None and own.url is not None:
        served = ApiModel(own.served_as, own.url, template_options=own.template_options)
        return network_card(alias, own.served_as, "", "", served)
    if own.folder is not None:
        folder = own.folder.expanduser()
        _check_is_checkpoint(alias, folder)
        title, source = folder.name, LocalCheckpoint(folder)
    else:
        assert own.repository is not None and own.commit is not None
        title, source = own.repository, HubCheckpoint(own.repository, own.commit)
    return checkpoint_card(alias, title, "", own.parameters, "", source, template_options=own.template_options)


def _check_is_checkpoint(alias: str, folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        raise RequestError(
            f"[models.{alias}]: {folder} holds an adapter; merge it into its base first (PEFT's merge_and_unload)"
        )
    for needed in ("config.json", "tokenizer_config.json"):
        if not (folder / needed).is_file():
            raise RequestError(f"[models.{alias}]: there is no {needed} in {folder}; give a whole checkpoint's folder")
    if not weights_in(folder):
        raise RequestError(
            f"[models.{alias}]: {folder} holds no safetensors weights as transformers writes them (save_pretrained)"
        )


def local_digest(folder: Path) -> str:
    """`digest_of_all`, read again only when a file has changed."""
    return _digest(folder, tuple((path.name, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())))


@lru_cache
def _digest(folder: Path, files: tuple[tuple[str, int], ...]) -> str:
    return digest_of_all(folder)
