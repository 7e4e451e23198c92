"""From the hierarchical YAML to W&B's flat parameters, and from their values back to a config.

    parameters (hierarchical) ──compile──▶ Space ──parameters──▶ {name: W&B parameter}
    base config + assignment {name: value} ──resolve──▶ config

What is in no sweep node is a constant and is upserted as well.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dysweep.errors import LanguageError, closest
from dysweep.tree import (
    EVAL,
    GROUP,
    INDEX_KEY,
    INSERT,
    OPERATIONS,
    OVERWRITE,
    REMOVE,
    UPSERT,
    Path,
    copy_tree,
    format_path,
)
from dysweep.upsert import KEEP, Placed, upsert

logger = logging.getLogger("dysweep")

_WANDB_WORDS = frozenset(
    ["value", "values", "distribution", "min", "max", "mu", "sigma", "q", "probabilities"]
)
_OWN_WORDS = frozenset(["sweep", "sweep_alias", "sweep_identifier"])
_TAKEN_BY_WANDB = frozenset(["", "dy_config", "_wandb"])
_MADE_LABEL_LENGTH = 48
_LARGEST_EXACT = 2**53  # JSON's readers may keep numbers in 64-bit floats


@dataclass(frozen=True)
class Parameter:
    """One swept parameter.

    Args:
        name: what W&B calls it.
        path: where its sweep node stands below `parameters`.
        node: W&B's description of it, with the values as written in the YAML.
        labels: for every value the text that W&B gets for it, or None where it gets the value itself.
    """

    name: str
    path: Path
    node: dict[str, Any]
    labels: tuple[str | None, ...]

    @property
    def values(self) -> list[Any]:
        """The declared values; empty for a distribution."""
        return (
            self.node["values"]
            if "values" in self.node
            else [self.node["value"]]
            if "value" in self.node
            else []
        )

    def encode(self, index: int) -> Any:
        """Give what W&B gets for the value with this index."""
        label = self.labels[index]
        return self.values[index] if label is None else label

    def decode(self, sent: Any) -> Placed:
        """Turn what W&B chose back into the declared value, with its place in the YAML.

        Args:
            sent: an alias, or a raw value, perhaps with another type of number than was declared.

        Returns:
            the declared value; a value that was not declared is taken as it is.
        """
        index = self._indices.get(_lookup_key(sent))
        if index is None and self._has_labels_only and not isinstance(sent, (dict, list)):
            index = self._indices.get(("text", _scalar_text(sent)))
        if index is None:
            return Placed(sent, self.path)
        place: Path = ("values", index) if "values" in self.node else ("value",)
        return Placed(self.values[index], (*self.path, *place))

    def to_wandb(self) -> dict[str, Any]:
        """Give the parameter as a W&B sweep configuration wants it."""
        described = copy_tree(self.node, self.path)
        sent = [self.encode(index) for index in range(len(self.values))]
        if "values" in described:
            described["values"] = sent
        elif "value" in described:
            described["value"] = sent[0]
        return described  # type: ignore[no-any-return]

    @property
    def same_values(self) -> list[str]:
        """The first values that W&B cannot tell apart, as 1 and 1.0, as they are written."""
        places: dict[Any, list[int]] = {}
        for index in range(len(self.values)):
            places.setdefault(_lookup_key(self.encode(index)), []).append(index)
        same = next((found for found in places.values() if len(found) > 1), [])
        return [_flow(self.values[index]) for index in same]

    @cached_property
    def _has_labels_only(self) -> bool:
        return bool(self.labels) and None not in self.labels

    @cached_property
    def _indices(self) -> dict[Any, int]:
        indices: dict[Any, int] = {}
        for index in range(len(self.values)):
            indices.setdefault(_lookup_key(self.encode(index)), index)
        return indices


@dataclass(frozen=True)
class Space:
    """A compiled sweep space; nothing in it ever changes.

    Args:
        tree: the hierarchical parameters as written.
        swept: the swept parameters in document order.
        path: where the parameters stand in the YAML, for messages.

    Example:
        >>> from dysweep import Space
        >>> model = {"sweep": True, "sweep_alias": ["small", "large"], "values": [{}, {"width": 64}]}
        >>> space = Space.compile({"model": model, "epochs": 5})
        >>> space.parameters
        {'model': {'values': ['small', 'large']}}
        >>> space.resolve({"model": {"width": 8}}, {"model": "large"})
        {'model': {'width': 64}, 'epochs': 5}
    """

    tree: dict[str, Any]
    swept: tuple[Parameter, ...]
    path: Path = ("sweep_configuration",)

    @classmethod
    def compile(cls, parameters: Mapping[str, Any], path: Path = ("sweep_configuration",)) -> Space:
        """Find the swept parameters and name them.

        Args:
            parameters: the hierarchical mapping, what stands below `parameters` in a W&B sweep configuration.
            path: where it stands in the YAML, for messages.

        Returns:
            the space.

        Raises:
            LanguageError: a sweep node is malformed, or an identifier is used twice.

        Example:
            >>> Space.compile({"net": {"lr": {"sweep": True, "values": [0.1, 0.01]}}}).parameters
            {'lr': {'values': [0.1, 0.01]}}
        """
        if not isinstance(parameters, Mapping):
            raise LanguageError(format_path(path), "the parameters are a mapping of settings to sweep")
        tree = copy_tree(parameters, path)
        if "sweep" in tree:
            raise LanguageError(
                format_path(path),
                "the whole `parameters` cannot be one sweep node; put `sweep` below the key to sweep",
            )
        nodes = list(_sweep_nodes(tree, path))
        _warn_of_seeming_nodes(tree, path)
        for found, node in nodes:
            if node["sweep"] is not True:
                logger.warning(
                    "%s: `sweep: %s` still marks a sweep; write `sweep: true`, or remove the node",
                    format_path(found), json.dumps(node["sweep"]),
                )  # fmt: skip
                break
        names = _names([(found[len(path) :], node.get("sweep_identifier"), found) for found, node in nodes])
        swept = tuple(_parameter(name, found, node) for name, (found, node) in zip(names, nodes, strict=True))
        return cls(tree, swept, path)

    @cached_property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The flat parameters, name to W&B parameter: what W&B gets.

        Example:
            >>> Space.compile({"lr": {"sweep": True, "min": 0.001, "max": 0.1}}).parameters
            {'lr': {'min': 0.001, 'max': 0.1}}
        """
        return {parameter.name: parameter.to_wandb() for parameter in self.swept}

    def resolve(
        self, base_config: Mapping[str, Any], assignment: Mapping[str, Any], allow_eval: bool = False
    ) -> dict[str, Any]:
        """Give the config that an assignment stands for.

        Args:
            base_config: the tree that every run starts from.
            assignment: parameter name to the value that W&B chose; a missing name leaves the base as it is,
                names that are no parameter are ignored.
            allow_eval: whether code in the space (`dy__eval`) may be run.

        Returns:
            a new plain tree, without any word of the sweep language.

        Raises:
            LanguageError: the assignment does not fit the base; the message names the path in the YAML.

        Example:
            >>> space = Space.compile({"net": {"lr": {"sweep": True, "values": [0.1, 0.01]}}})
            >>> space.resolve({"seed": 0, "net": {"lr": 1.0}}, {"lr": 0.01})
            {'seed': 0, 'net': {'lr': 0.01}}
        """
        chosen = {
            parameter.path: parameter.decode(assignment[parameter.name])
            for parameter in self.swept
            if parameter.name in assignment
        }
        patch = _substitute(self.tree, self.path, chosen)
        return upsert(
            base_config, {} if patch is KEEP else patch, allow_eval=allow_eval, patch_path=self.path
        )

    def to_json(self) -> str:
        """Write the space as one JSON text.

        Example:
            >>> space = Space.compile({"lr": {"sweep": True, "values": [0.1, 0.01]}})
            >>> Space.from_json(space.to_json()) == space
            True
        """
        swept = [{"name": p.name, "path": p.path, "labels": p.labels} for p in self.swept]
        return json.dumps({"path": self.path, "tree": self.tree, "swept": swept}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Space:
        """Read what `to_json` wrote; names and labels are taken from it, so that running sweeps keep theirs.

        Args:
            text: the JSON text.

        Raises:
            ValueError: the text is no space.

        Example:
            >>> text = Space.compile({"lr": {"sweep": True, "values": [0.1, 0.01]}}).to_json()
            >>> Space.from_json(text).parameters
            {'lr': {'values': [0.1, 0.01]}}
        """
        try:
            stored = json.loads(text)
            tree, path = stored["tree"], tuple(stored["path"])
            nodes = dict(_sweep_nodes(tree, path))
            swept = []
            for item in stored["swept"]:
                found = tuple(item["path"])
                swept.append(Parameter(item["name"], found, _wandb_part(nodes[found]), tuple(item["labels"])))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no space of a sweep: {error!r}") from error
        return cls(tree, tuple(swept), path)


def _sweep_nodes(value: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    if isinstance(value, dict):
        if "sweep" in value:
            yield path, value
            return
        for word in ("sweep_identifier", "sweep_alias"):
            if word in value:
                raise LanguageError(format_path(path), f"{word} without sweep; add `sweep: true` beside it")
        for key, item in value.items():
            yield from _sweep_nodes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _sweep_nodes(item, (*path, index))


def _warn_of_seeming_nodes(value: Any, path: Path) -> None:
    if isinstance(value, dict) and "sweep" not in value:
        if _looks_swept(value):
            logger.warning(
                "%s: this looks like a swept parameter and is a constant; to sweep it, add `sweep: true`",
                format_path(path),
            )
        for key, item in value.items():
            _warn_of_seeming_nodes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _warn_of_seeming_nodes(item, (*path, index))


def _looks_swept(node: dict[str, Any]) -> bool:
    """Tell whether a mapping seems to be meant as a sweep node: W&B's words, perhaps a misspelt `sweep`."""
    others = node.keys() - _WANDB_WORDS
    if node.keys() <= {"value", "distribution"}:
        return False  # W&B's way to write a constant
    return len(others) < len(node) and all(difflib.get_close_matches(key, _OWN_WORDS, n=1) for key in others)


def _names(nodes: list[tuple[Path, Any, Path]]) -> list[str]:
    taken = set(_TAKEN_BY_WANDB)
    for _, identifier, found in nodes:
        if identifier is None:
            continue
        where = format_path((*found, "sweep_identifier"))
        if not isinstance(identifier, str):
            raise LanguageError(where, f"an identifier is text, as `{json.dumps(str(identifier))}`")
        if identifier in _TAKEN_BY_WANDB:
            raise LanguageError(where, f"{identifier!r} is used by W&B or dysweep itself; choose another one")
        if identifier in taken:
            raise LanguageError(
                where, f"sweep_identifier {identifier!r} is used twice; give each parameter its own"
            )
        taken.add(identifier)
    names = []
    for path, identifier, _ in nodes:
        name = identifier or _free_name(path, taken)
        taken.add(name)
        names.append(name)
    return names


def _free_name(path: Path, taken: set[str]) -> str:
    path = tuple(_pieces(path))
    for start in range(len(path) - 1, -1, -1):
        if isinstance(path[start], str) and path[start] not in (INSERT, REMOVE, OVERWRITE):
            name = ".".join(map(str, path[start:]))
            if name not in taken:
                return name
    return _numbered(".".join(map(str, path)), taken)


def _pieces(path: Path) -> Iterator[str | int]:
    """Give what a name is made of: n instead of `__IDX__n`, and not which of a list's operations it is."""
    for place, part in enumerate(path):
        if isinstance(part, int):
            if place == 0 or path[place - 1] != OPERATIONS:
                yield part
        elif element := INDEX_KEY.fullmatch(part):
            yield int(element[1])
        elif part != OPERATIONS or len(path) == 1:
            yield from part.split("__CUSTOM_SEPERATOR__")  # dysweep 0.1 joined paths with it


def _numbered(text: str, taken: set[str]) -> str:
    number = 2
    while f"{text} ({number})" in taken:
        number += 1
    return f"{text} ({number})"


def _wandb_part(node: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in _OWN_WORDS}


def _parameter(name: str, path: Path, node: dict[str, Any]) -> Parameter:
    described = _wandb_part(node)
    where = format_path(path)
    if not described:
        raise LanguageError(where, "a sweep node needs `values`, or `min` and `max`, or a `distribution`")
    words = sorted(_WANDB_WORDS | _OWN_WORDS)
    for key in described:
        if key not in _WANDB_WORDS and difflib.get_close_matches(key, words, n=1):
            raise LanguageError(f"{where}.{key}", f"no such key of a sweep node{closest(key, words)}")
    if isinstance(described.get("value"), list):
        logger.warning("%s.value: one value that is a list; to choose from it, write `values`", where)
    values = described.get("values", [described["value"]] if "value" in described else [])
    if not isinstance(values, list):
        raise LanguageError(f"{where}.values", f"a list is needed, as `[{json.dumps(values)}]`")
    if "values" in described and not values:
        raise LanguageError(f"{where}.values", "an empty list; give at least one value")
    probabilities = described.get("probabilities")
    if isinstance(probabilities, list) and len(probabilities) != len(values):
        raise LanguageError(
            f"{where}.probabilities",
            f"{len(probabilities)} probabilities for {len(values)} values; give one for each",
        )
    aliases = node.get("sweep_alias")
    return Parameter(
        name,
        path,
        described,
        _made_labels(values) if aliases is None else _alias_labels(aliases, node, where),
    )


def _alias_labels(aliases: Any, node: dict[str, Any], where: str) -> tuple[str, ...]:
    where += ".sweep_alias"
    if "values" not in node:
        raise LanguageError(where, "sweep_alias needs `values` beside it, one alias for each")
    if not isinstance(aliases, list):
        raise LanguageError(
            where, f"sweep_alias should be a list, one alias for each value, this is {aliases!r}"
        )
    if len(aliases) != len(node["values"]):
        raise LanguageError(
            where,
            f"sweep_alias and values differ in length: {len(aliases)} aliases, {len(node['values'])} values",
        )
    labels: dict[str, None] = {}
    for index, alias in enumerate(aliases):
        if isinstance(alias, (dict, list)):
            raise LanguageError(f"{where}[{index}]", "an alias is a short text")
        label = _scalar_text(alias)
        if label in labels:
            raise LanguageError(f"{where}[{index}]", f"the alias {label!r} is used twice in this parameter")
        labels[label] = None
    return tuple(labels)


def _made_labels(values: list[Any]) -> tuple[str | None, ...]:
    """Make a label for each value that is no scalar or that JSON may lose: readable, short, unique."""
    labels: list[str | None] = []
    taken = {value for value in values if isinstance(value, str)}
    for value in values:
        if not isinstance(value, (dict, list)) and _is_kept_by_json(value):
            labels.append(None)
            continue
        label = (_flow(value)[1:-1] if isinstance(value, dict) else _flow(value)) or "{}"
        if len(label) > _MADE_LABEL_LENGTH:
            digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:6]
            label = f"{label[: _MADE_LABEL_LENGTH - 8]}..{digest}"
        if label in taken:
            label = _numbered(label, taken)
        taken.add(label)
        labels.append(label)
    return tuple(labels)


def _is_kept_by_json(value: Any) -> bool:
    """Tell whether a scalar comes back from W&B as it was sent."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= _LARGEST_EXACT


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar_text(value)


def _scalar_text(value: Any) -> str:
    """Write a scalar as YAML has it: text as it is, true, null, 0.001; and nan, inf, -inf."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _lookup_key(value: Any) -> Any:
    """Give a key under which 1 and 1.0 are the same, and True and 1 are not."""
    if isinstance(value, str):
        return ("text", value)
    if isinstance(value, (bool, int, float)) or value is None:
        return (isinstance(value, bool), value)
    return None


def _substitute(value: Any, path: Path, chosen: Mapping[Path, Placed]) -> Any:
    """Put the chosen values in the places of their sweep nodes; leave out what has none."""
    if isinstance(value, dict):
        if "sweep" in value:
            return chosen.get(path, KEEP)
        items = {key: _substitute(item, (*path, key), chosen) for key, item in value.items()}
        kept = {key: item for key, item in items.items() if item is not KEEP}
        if "expression" in value and "expression" not in kept and path[-1] == EVAL:
            return KEEP
        if OPERATIONS in value and OPERATIONS not in kept:
            kept = {key: item for key, item in kept.items() if key == UPSERT or key.startswith(GROUP)}
        return kept if kept or not value else KEEP
    if isinstance(value, list):
        elements = [_substitute(item, (*path, index), chosen) for index, item in enumerate(value)]
        return elements if not value or any(element is not KEEP for element in elements) else KEEP
    return value
