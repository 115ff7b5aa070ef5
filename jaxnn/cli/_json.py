"""JSON as the commands write it: null for NaN and infinity, files whole or not at all."""

import json
import math
from pathlib import Path
from typing import Any

from jaxnn._whole import write_whole


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file."""
    write_whole(path, lambda temporary: temporary.write_text(to_json(value) + "\n", encoding="utf-8"))


def to_json(value: Any) -> str:
    """Return JSON text, with null for NaN and infinity, which JSON does not have."""
    return json.dumps(_without_nan(value), indent=2, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
