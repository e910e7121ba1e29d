"""Finished parts of an unfinished artefact, a JSON line each: a killed run repeats only the part it was in."""

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """An append-only file of `key → value`; each entry is on disk before `put` returns.

    A line that a killed process left torn is dropped when the file is opened.
    """

    def __init__(self, path: Path):
        self._path = path
        self._entries: dict[str, Any] = {}
        whole = 0
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            try:
                entry = json.loads(line)
                self._entries[entry["key"]] = entry["value"]
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
        if path.exists():
            os.truncate(path, whole)

    def get(self, key: str) -> Any | None:
        return self._entries.get(key)

    def put(self, key: str, value: Any) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "value": value}, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._entries[key] = value
