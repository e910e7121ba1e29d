"""JSON lines, read strictly: a broken line is named by file and number."""

import json
from pathlib import Path
from typing import Any

from offmodel.errors import RequestError


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file, one object a line; blank lines are skipped.

    Raises:
        RequestError: the file is missing, not UTF-8, or a line is not a JSON object (the line's number is given).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"cannot read {path}: {error}") from error
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise RequestError(f"{path}:{number}: not valid JSON ({error.msg}); mend or delete that line") from error
        if not isinstance(row, dict):
            raise RequestError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
        rows.append(row)
    return rows
