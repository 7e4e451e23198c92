"""From the hierarchical YAML to W&B's flat parameters, and from their values back to a config.

    parameters (hierarchical) ──compile──▶ Space ──parameters──▶ {name: W&B parameter}
    base config + assignment {name: value} ──resolve──▶ config

What is in no sweep node is a constant and is upserted as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dysweep.errors import LanguageError
from dysweep.language.alternatives import Alternatives
from dysweep.language.exclusion import Exclusion, joint
from dysweep.language.flat import flat_parameters
from dysweep.language.labels import flow
from dysweep.language.nodes import sweep_nodes, warn_of_seeming_nodes
from dysweep.language.parameter import Parameter, wandb_part
from dysweep.language.placed import KEEP, Placed
from dysweep.language.substitute import Slots, slots_of
from dysweep.language.tree import TreePath, copy_tree, format_path
from dysweep.language.upsert import upsert, upsert_sharing
from dysweep.limits import check_plain_size, check_size, is_surely_small

logger = logging.getLogger("dysweep")


@dataclass(frozen=True)
class Space:
    """A compiled sweep space; nothing in it ever changes.

    Args:
        tree: the hierarchical parameters as written.
        swept: the parameters that W&B gets.
        path: where the parameters are in the YAML, for messages.
        flat: the parameters one by one, also those inside the values of others; a grid's may have become one
            of W&B's together.

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
    path: TreePath = ("sweep_configuration",)
    flat: tuple[Parameter, ...] = field(default=(), repr=False)

    @classmethod
    def compile(
        cls,
        parameters: Mapping[str, Any],
        path: TreePath = ("sweep_configuration",),
        method: str = "grid",
        exclude: Any = (),
    ) -> Space:
        """Find the swept parameters and name them.

        Args:
            parameters: the hierarchical mapping, what is below `parameters` in a W&B sweep configuration.
            path: where it is in the YAML, for messages.
            method: the sweep's method: of a grid, W&B gets one parameter for a node and those in its values,
                written out; of others, it gets each.
            exclude: the points of a grid that are not run (`sweep_exclude`).

        Returns:
            the space.

        Raises:
            LanguageError: a sweep node is malformed, an identifier is used twice, or nothing is left to run.

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
        nodes = sweep_nodes(tree, path)
        warn_of_seeming_nodes(tree, path)
        for node in nodes:
            if node.spec["sweep"] is not True:
                logger.warning(
                    "%s: `sweep: %s` still marks a sweep; write `sweep: true`, or remove the node",
                    format_path(node.path), json.dumps(node.spec["sweep"]),
                )  # fmt: skip
                break
        members = flat_parameters(nodes, method)
        flat = tuple(each.parameter for each in members)
        where = (*(path[:-1] if path[-1:] == ("parameters",) else path), "sweep_exclude")
        if method != "grid":
            if exclude != ():
                raise LanguageError(format_path(where), "only a grid has points to exclude")
            return cls(tree, flat, path, flat)
        alternatives = Alternatives(members)
        exclusion = Exclusion(members, alternatives, where)
        joined = exclusion.joined(exclude) if exclude != () else {}
        for entry in exclusion.without_effect:
            logger.warning("%s: excludes nothing", format_path(entry))
        swept = []
        for place, parameter in enumerate(flat):
            if place in joined:
                sent = joined[place]
            elif parameter.within is not None:
                sent = None
            elif alternatives.is_plain(place):
                sent = parameter
            else:
                sent = joint(parameter, alternatives.of(place))
            if sent is not None:
                swept.append(sent)
        return cls(tree, tuple(swept), path, flat)

    @cached_property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The flat parameters, name to W&B parameter: what W&B gets.

        Example:
            >>> Space.compile({"lr": {"sweep": True, "min": 0.001, "max": 0.1}}).parameters
            {'lr': {'min': 0.001, 'max': 0.1}}
        """
        return {parameter.name: parameter.to_wandb() for parameter in self.swept}

    @cached_property
    def example(self) -> dict[str, Any]:
        """An assignment that W&B could choose: the first value of each parameter.

        Example:
            >>> Space.compile({"lr": {"sweep": True, "min": 0.001, "max": 0.1}}).example
            {'lr': 0.001}
        """
        return {each.name: each.first for each in self.swept}

    def resolve(
        self, base_config: Mapping[str, Any], assignment: Mapping[str, Any], allow_eval: bool = False
    ) -> dict[str, Any]:
        """Return the config that an assignment stands for.

        Args:
            base_config: the tree that every run starts from.
            assignment: parameter name to the value that W&B chose; a missing name leaves the base as it is,
                names that are no parameter are ignored.
            allow_eval: whether code in the space (`dy__eval`) may be run.

        Returns:
            a new plain tree, without any word of the sweep language.

        Raises:
            LanguageError: the assignment does not fit the base, and the message names the path in the YAML;
                or the config is too large.

        Example:
            >>> space = Space.compile({"net": {"lr": {"sweep": True, "values": [0.1, 0.01]}}})
            >>> space.resolve({"seed": 0, "net": {"lr": 1.0}}, {"lr": 0.01})
            {'seed': 0, 'net': {'lr': 0.01}}
        """
        self._check_joints(assignment)
        return self.resolve_choices(base_config, self._choices(assignment), allow_eval)

    def _check_joints(self, assignment: Mapping[str, Any]) -> None:
        for parameter in self._joints:
            name = parameter.name
            if name in assignment and parameter.index_of(assignment[name]) is None:
                raise LanguageError(
                    format_path(parameter.path), f"{name!r} has no value {flow(assignment[name])}"
                )

    @cached_property
    def _joints(self) -> list[Parameter]:
        return [parameter for parameter in self.swept if parameter.picks]

    def resolve_choices(
        self,
        base_config: Mapping[str, Any],
        choices: Iterable[tuple[Parameter, int | Placed]],
        allow_eval: bool,
    ) -> dict[str, Any]:
        """Return the config that choices stand for: flat parameters, each with the place of its value, or
        with a value that was not declared.
        """
        config = upsert(base_config, self._patch(choices), allow_eval=allow_eval, patch_path=self.path)
        check_plain_size(config, "the config")
        return config

    def resolver(
        self, base_config: dict[str, Any], allow_eval: bool
    ) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """Return what resolves many assignments as `resolve` does, to configs that nobody may change.

        Args:
            base_config: a plain tree that has been resolved before; the configs share with it what stays.
            allow_eval: whether code in the space (`dy__eval`) may be run.
        """
        are_small = is_surely_small(base_config, self.tree)

        def resolve(assignment: Mapping[str, Any]) -> dict[str, Any]:
            self._check_joints(assignment)
            patch = self.patch(assignment)
            config = upsert_sharing(base_config, patch, allow_eval=allow_eval, patch_path=self.path)
            if not are_small:
                check_size(config, "the config")
            return config

        return resolve

    def patch(self, assignment: Mapping[str, Any]) -> Any:
        """Return what an assignment changes, to be laid over a base config."""
        return self._patch(self._choices(assignment))

    def _patch(self, choices: Iterable[tuple[Parameter, int | Placed]]) -> Any:
        chosen: dict[TreePath, int | Placed] = {}
        for parameter, choice in choices:
            for path in parameter.paths:
                chosen[path] = choice
        patch = self.tree if self._slots is None else self._slots.fill(chosen)
        return {} if patch is KEEP else patch

    @cached_property
    def _slots(self) -> Slots | None:
        return slots_of(self.tree, self.path)

    def _choices(self, assignment: Mapping[str, Any]) -> Iterator[tuple[Parameter, int | Placed]]:
        """Return for each flat parameter that is set the place of its value, or a value itself."""
        for parameter in self.swept:
            if parameter.name not in assignment:
                continue
            sent = assignment[parameter.name]
            index = parameter.index_of(sent)
            if not parameter.picks:
                yield parameter, Placed(sent, parameter.path) if index is None else index
            elif index is not None:
                for place, picked in parameter.picks[index].items():
                    yield self.flat[place], picked

    def settings(self, assignment: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the parameters one by one, without those that the assignment does not use.

        Args:
            assignment: parameter name to the value that W&B chose.

        Returns:
            for each parameter, also those inside the values of others, its value or alias.

        Example:
            >>> lr = {"sweep": True, "values": [0.1, 0.01]}
            >>> optimizer = {"sweep": True, "sweep_alias": ["sgd", "adam"], "values": [{"lr": lr}, {}]}
            >>> space = Space.compile({"optimizer": optimizer})
            >>> space.parameters
            {'optimizer': {'values': ['sgd, lr=0.1', 'sgd, lr=0.01', 'adam']}}
            >>> space.settings({"optimizer": "sgd, lr=0.01"})
            {'optimizer': 'sgd', 'sgd.lr': 0.01}
        """
        return {
            each.name: choice.value if isinstance(choice, Placed) else each.encode(choice)
            for each, choice in self._active(assignment)
        }

    def places(self, assignment: Mapping[str, Any]) -> Iterator[tuple[Parameter, TreePath, Any]]:
        """Return where in the config an assignment puts what: parameter, path, declared value."""
        specs = {node.path: node for node in sweep_nodes(self.tree, self.path)}
        for parameter, choice in self._active(assignment):
            for path in parameter.paths:
                node = specs[path]
                place: TreePath = node.inside
                while node.parent is not None:
                    node = specs[node.parent]
                    place = (*node.inside, *place)
                if isinstance(choice, Placed):
                    value = choice.value
                elif parameter.zipped:
                    value = specs[path].spec["values"][choice]
                else:
                    value = parameter.values[choice] if parameter.values else parameter.encode(choice)
                if not (isinstance(value, dict) and "sweep" in value):
                    yield parameter, place, value

    def _active(self, assignment: Mapping[str, Any]) -> list[tuple[Parameter, int | Placed]]:
        chosen = {parameter.name: choice for parameter, choice in self._choices(assignment)}
        return [
            (each, chosen[each.name])
            for each in self.flat
            if each.name in chosen and self._is_active(each, chosen)
        ]

    def _is_active(self, parameter: Parameter, chosen: Mapping[str, int | Placed]) -> bool:
        if parameter.within is None:
            return True
        place, index = parameter.within
        outer = self.flat[place]
        return chosen.get(outer.name) == index and self._is_active(outer, chosen)

    def to_json(self) -> str:
        """Write the space as one JSON text.

        Example:
            >>> space = Space.compile({"lr": {"sweep": True, "values": [0.1, 0.01]}})
            >>> Space.from_json(space.to_json()) == space
            True
        """
        stored = {"path": self.path, "tree": self.tree, "swept": [_to_stored(each) for each in self.flat]}
        if self.swept != self.flat:
            stored["sent"] = [
                _joint_to_stored(each) if each.picks else self.flat.index(each) for each in self.swept
            ]
        return json.dumps(stored, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Space:
        """Read what `to_json` wrote; names and labels are taken from it, so that running sweeps keep theirs.

        Args:
            text: the JSON text.

        Raises:
            ValueError: the text is not a space.

        Example:
            >>> text = Space.compile({"lr": {"sweep": True, "values": [0.1, 0.01]}}).to_json()
            >>> Space.from_json(text).parameters
            {'lr': {'values': [0.1, 0.01]}}
        """
        try:
            stored = json.loads(text)
            tree, path = stored["tree"], tuple(stored["path"])
            specs = {node.path: node.spec for node in sweep_nodes(tree, path)}
            flat = tuple(_from_stored(item, specs) for item in stored["swept"])
            for place, each in enumerate(flat):
                if each.within is not None:
                    _check_pick(*each.within, flat[:place])  # it is in the values of one before it
            sent = stored.get("sent", range(len(flat)))
            swept = tuple(
                flat[each] if type(each) is int else _joint_from_stored(each, flat) for each in sent
            )
        except (LookupError, ValueError, TypeError, AttributeError, RecursionError, LanguageError) as error:
            raise ValueError(f"this is not the space of a sweep: {error!r}") from error
        return cls(tree, swept, path, flat)


def _to_stored(parameter: Parameter) -> dict[str, Any]:
    stored: dict[str, Any] = {"name": parameter.name, "path": parameter.path}
    if parameter.zipped:
        return {
            **stored, "labels": parameter.values, "zipped": parameter.zipped, "within": parameter.within
        }  # fmt: skip
    stored["labels"] = parameter.labels
    if parameter.within is not None:
        stored["within"] = parameter.within
    return {**stored, "in_full": True} if parameter.in_full else stored


def _from_stored(item: dict[str, Any], specs: Mapping[TreePath, dict[str, Any]]) -> Parameter:
    name, path, labels = item["name"], tuple(item["path"]), tuple(item["labels"])
    spec, zipped = specs[path], tuple(map(tuple, item.get("zipped", ())))
    within = None if item.get("within") is None else (int(item["within"][0]), int(item["within"][1]))
    described = wandb_part(spec)
    if zipped:
        if any(len(specs[each]["values"]) != len(labels) for each in (path, *zipped)):
            raise TypeError(f"{name!r} has {len(labels)} labels")
        described, labels = {"values": list(labels)}, (None,) * len(labels)
    is_repeat, in_full = "sweep_repeats" in spec, item.get("in_full") is True
    parameter = Parameter(name, path, described, labels, zipped, within, is_repeat, in_full)
    if not isinstance(name, str) or len(labels) != len(parameter.values):
        raise TypeError(f"{name!r} has {len(labels)} labels")
    return parameter


def _joint_to_stored(parameter: Parameter) -> dict[str, Any]:
    picks = [list(picked.items()) for picked in parameter.picks]
    return {"name": parameter.name, "path": parameter.path, "values": parameter.values, "picks": picks}


def _joint_from_stored(item: dict[str, Any], flat: tuple[Parameter, ...]) -> Parameter:
    picks = tuple({int(place): int(index) for place, index in picked} for picked in item["picks"])
    if not isinstance(item["name"], str) or len(picks) != len(item["values"]):
        raise TypeError(f"{item['name']!r} has {len(picks)} picks")
    for place, index in {pair for picked in picks for pair in picked.items()}:
        _check_pick(place, index, flat)
    node = {"values": item["values"]}
    return Parameter(item["name"], tuple(item["path"]), node, (None,) * len(picks), picks=picks)


def _check_pick(place: int, index: int, flat: tuple[Parameter, ...]) -> None:
    if not (0 <= place < len(flat) and 0 <= index < flat[place].size):
        raise TypeError(f"value {index} of parameter {place} is out of range")
