"""Folding an adapter into its start, so that an engine can serve the student as an ordinary checkpoint."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from offmodel.errors import RunError

_NOT_WEIGHTS = (".json", ".jinja", ".model", ".txt")


def merge(start: Path, adapter: Path, out: Path, may_be_empty: bool = False) -> None:
    """Write to `out` the bf16 checkpoint W + (alpha / rank) B A, added in fp32, for each adapted matrix W of `start`.

    The tokenizer and the other files of `start` come along; weights are read and written one shard at a time.
    `may_be_empty` lets an adapter pass that changes nothing, as when no answer was ever rewarded.

    Raises:
        RunError: the adapter does not fit the start, is no plain LoRA, is not finite, or changes no weight: scored, it
            would silently pass for the start itself.
    """
    changes = _Changes(adapter)
    out.mkdir(parents=True, exist_ok=True)
    copy_without_weights(start, out)
    shards = sorted(start.glob("*.safetensors"))
    if not shards:
        raise RunError(f"{start} has no safetensors weights to merge into")
    changed, size, weight_map = 0, 0, {}
    for shard in shards:
        merged: dict[str, Tensor] = {}
        with safe_open(shard, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (no mapping)
                before = weights.get_tensor(name)
                after = before.to(torch.bfloat16) if before.is_floating_point() else before
                delta = changes.take(name, before)
                if delta is not None:
                    folded = (before.float() + delta).to(torch.bfloat16)
                    changed += int((folded != after).sum())
                    after = folded
                merged[name] = after
                size += after.nbytes
                weight_map[name] = shard.name
        save_file(merged, out / shard.name, metadata={"format": "pt"})
    if changes.left():
        raise RunError(f"{adapter} adapts {changes.left()[0]}, which {start} does not have: another model's adapter?")
    if not changed and not may_be_empty:
        raise RunError(f"{adapter} changes no weight of {start} in bf16: was anything learned and saved?")
    if len(shards) > 1:
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def copy_without_weights(start: Path, out: Path) -> None:
    """Copy tokenizer, configs and the like; the config's dtype becomes bfloat16."""
    for file in start.iterdir():
        if file.is_file() and file.name.endswith(_NOT_WEIGHTS) and not file.name.endswith(".index.json"):
            shutil.copyfile(file, out / file.name)
    config = json.loads((start / "config.json").read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    text = json.dumps({**config, "dtype": "bfloat16"}, indent=2)
    (out / "config.json").write_text(text + "\n", encoding="utf-8")


class _Changes:
    """The adapter's low-rank products by the name of the weight they change; each can be taken once."""

    def __init__(self, adapter: Path) -> None:
        try:
            config: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
            self._factors = load_file(adapter / "adapter_model.safetensors")
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read the adapter {adapter}: {error}") from error
        variants = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "modules_to_save")
        used = [name for name in variants if config.get(name)]
        if config.get("peft_type") != "LORA" or used:
            raise RunError(f"{adapter} is no plain LoRA adapter ({', '.join(used) or config.get('peft_type')})")
        self._adapter = adapter
        self._scale = config["lora_alpha"] / config["r"]

    def take(self, name: str, weight: Tensor) -> Tensor | None:
        """The fp32 change of the weight called `name`, shaped like it, or None."""
        prefix = f"base_model.model.{name.removesuffix('.weight')}"
        b, a = (self._factors.pop(f"{prefix}.lora_{factor}.weight", None) for factor in "BA")
        if b is None or a is None:
            return None
        if (b.shape[0], a.shape[1]) != tuple(weight.shape):
            raise RunError(f"{self._adapter} does not fit {name} {tuple(weight.shape)}: another model's adapter?")
        delta = self._scale * (b.float() @ a.float())
        if not delta.isfinite().all():
            raise RunError(f"{self._adapter} holds values that are not finite at {name}")
        return delta

    def left(self) -> list[str]:
        return sorted(self._factors)
