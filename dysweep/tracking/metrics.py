"""What a run has logged, as W&B's SDK keeps it at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import wandb

_KINDS = {str: "text", bool: "a boolean", list: "a list", type(None): "null"}
_AGGREGATES = frozenset(["min", "max", "mean", "best", "first", "last", "sum"])


def final_summary(run: wandb.Run) -> dict[str, Any]:
    """Return the summary of a run that has ended."""
    # A finished run keeps its summary, but the SDK's public `run.summary` does not give it any more.
    from wandb.sdk.lib import proto_util

    response = getattr(run, "_final_summary", None)
    return proto_util.dict_from_proto_list(response.item) if response is not None else {}


def other_kinds(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return what people have logged that is not a number, with its kind."""
    return {
        key: _KINDS[type(value)]
        for key, value in summary.items()
        if not key.startswith("_") and type(value) in _KINDS
    }


def numbers(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers that people have logged: no sizes of media, no strings.

    What `define_metric(name, summary="max")` has kept is `name.max`, and `name` too if it is the only one.
    """
    found: dict[str, float] = {}
    for key, value in summary.items():
        if not prefix and key.startswith("_"):
            continue
        if isinstance(value, Mapping):
            if "_type" not in value:
                nested = numbers(value, f"{prefix}{key}.")
                if len(nested) == 1 and value.keys() <= _AGGREGATES:
                    found[prefix + key] = next(iter(nested.values()))
                found |= nested
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[prefix + key] = value
    return found
