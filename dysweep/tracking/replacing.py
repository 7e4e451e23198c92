"""Functions of W&B's SDK replaced while a run lasts, wherever they were imported."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import Any

_searched: set[str] = set()
_places: list[tuple[dict[str, Any], str]] = []


def replace_everywhere(functions: Mapping[Any, Any]) -> None:
    """Replace functions of the SDK, also in modules that have imported them: `from wandb import init`."""
    for names, name in _places_of(functions):
        names[name] = functions[names[name]]


def _places_of(functions: Collection[Any]) -> list[tuple[dict[str, Any], str]]:
    """Find where modules keep functions; each module is searched once, as there are thousands."""
    identities = set(map(id, functions))
    # Also on the way back, as modules that the function imports get the replaced functions.
    for module in sys.modules.keys() - _searched:
        _searched.add(module)
        if not module.startswith("wandb."):
            names = getattr(sys.modules[module], "__dict__", {})
            _places.extend((names, name) for name, value in list(names.items()) if id(value) in identities)
    return [(names, name) for names, name in _places if id(names.get(name)) in identities]
