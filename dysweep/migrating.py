"""From W&B's own sweep file to the settings of a sweep of dysweep that behaves as it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dysweep.creation import preview
from dysweep.errors import ConfigError, closest
from dysweep.files import load_file
from dysweep.language.labels import flow
from dysweep.language.nodes import WANDB_WORDS
from dysweep.language.parameter import Parameter
from dysweep.language.tree import INDEX_KEY, REPLACE, RESERVED, TreePath, copy_tree, format_path, is_word
from dysweep.language.wandb_rules import WANDB_KEYS
from dysweep.log import say
from dysweep.settings import TREES, ResumableSweepConfig, checked
from dysweep.yaml_text import dump_yaml

_ABSENT = object()
_LABEL = "_label"


def from_wandb(path: str, settings: Mapping[str, Any]) -> str:
    """Write the file of settings for which a sweep behaves as W&B's own sweep file; say what differs.

    Args:
        path: W&B's sweep file.
        settings: further settings; without base_config it is made of the sweep file's constants and, for
            what is swept, of first values.

    Returns:
        the settings as YAML.

    Raises:
        ConfigError: it is not a sweep file of W&B, or W&B would refuse it.
    """
    described = _sweep_file(path)
    if "sweep_configuration" in settings:
        raise ConfigError(f"--from_wandb: {path} is the sweep_configuration; leave the other one out")
    given = settings.get("base_config")
    base = load_file(given) if isinstance(given, str) else given
    parameters = [_placed(each, base) for each in _flat(described["parameters"], ("parameters",))]
    described["parameters"] = {}
    example: dict[str, Any] = {}
    for each in parameters:
        _put(example, each.place, copy_tree(each.example, each.place), each)
        if (node := each.node_below(base)) is not _ABSENT:
            _put(described["parameters"], each.place, node, each)
    written = {"base_config": example if given is None else given, "sweep_configuration": described}
    if any(each.is_tree for each in parameters):
        written["wandb_config"] = "tree"
    written |= {name: value for name, value in settings.items() if name not in written}
    preview(checked(written, ResumableSweepConfig)).warn()
    for line in [*_read_otherwise(path), *_shown_otherwise(parameters), *_executed(described, parameters)]:
        say(line)
    return f"# From {path}: dysweep_create -c creates this sweep.\n{dump_yaml(written, is_compact=True)}"


def _sweep_file(path: str) -> dict[str, Any]:
    described = load_file(path)
    if not isinstance(described, dict):
        raise ConfigError(
            f"{path}: not a sweep file of W&B, which is a mapping with `method` and `parameters`"
        )
    if found := [tree for tree in TREES if tree in described]:
        raise ConfigError(
            f"{path}: has {found[0]}, so it is a file of dysweep already; dysweep_create -c {path}"
        )
    for key in described:
        if key not in WANDB_KEYS:
            hint = closest(str(key), sorted(WANDB_KEYS))
            raise ConfigError(f"{path}: {key}: not a key of W&B's sweep files{hint}")
    for key in ("method", "parameters"):
        if key not in described:
            raise ConfigError(f"{path}: {key}: missing, and W&B's sweep files have it")
    if not isinstance(described["parameters"], dict):
        raise ConfigError(f"{path}: parameters: a mapping is needed, from names to descriptions")
    return described


@dataclass(frozen=True)
class _Plain:
    """A parameter of W&B's: its names, one inside the other, and its description."""

    names: tuple[str, ...]
    node: dict[str, Any]


@dataclass(frozen=True)
class _Placed(_Plain):
    """A parameter with its place in the tree of dysweep."""

    place: TreePath

    @property
    def name(self) -> str:
        return ".".join(self.names)

    @property
    def parameter(self) -> Parameter:
        return Parameter(self.name, self.place, self.node, ())

    @property
    def holds_trees(self) -> bool:
        return any(isinstance(value, (dict, list)) for value in self.parameter.values)

    @property
    def is_tree(self) -> bool:
        """Whether its key in the config of a W&B run is only there with the tree."""
        return len(self.names) > 1 or self.holds_trees

    @property
    def example(self) -> Any:
        values = self.parameter.values
        return values[0] if values else self.node.get("min", self.node.get("mu", 1))

    def node_below(self, base: Any) -> Any:
        """Return what stands for it in the tree; nothing for a constant that base_config holds."""
        if self.holds_trees and "value" in self.node:
            return _ABSENT if base is None else _whole(self.node["value"])
        node = {"sweep": True, **self.node}
        if self.holds_trees:
            node["sweep_identifier"] = f"{self.name}{_LABEL}"
            node["values"] = [_whole(value) for value in self.node["values"]]
            if node["values"] != self.node["values"]:
                node["sweep_alias"] = [flow(value) for value in self.node["values"]]
        elif self.place != (self.name,):
            node["sweep_identifier"] = self.name
        return node


def _whole(value: Any) -> Any:
    """Return a value so that it replaces what is there, as in W&B: mappings would be merged."""
    return {REPLACE: value} if _has_mapping(value) else value


def _has_mapping(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_has_mapping, value)))


def _flat(parameters: Any, where: TreePath, names: tuple[str, ...] = ()) -> Iterator[_Plain]:
    if not isinstance(parameters, dict) or not parameters:
        raise ConfigError(f"{format_path(where)}: a mapping of parameters is needed")
    for name, node in parameters.items():
        here = (*where, str(name))
        if is_word(name) or INDEX_KEY.fullmatch(str(name)):
            raise ConfigError(f"{format_path(here)}: {name!r} is a word of dysweep's language; rename it")
        if not isinstance(node, dict):
            raise ConfigError(f"{format_path(here)}: a constant is written as {{value: {flow(node)}}} in W&B")
        if "sweep" in node:
            raise ConfigError(
                f"{format_path(here)}.sweep: is of dysweep; such a file goes below `sweep_configuration:`"
            )
        if "parameters" in node and len(node) == 1:
            yield from _flat(node["parameters"], (*here, "parameters"), (*names, str(name)))
            continue
        known = sorted({*WANDB_WORDS, "parameters"})
        for word in node:
            if word not in WANDB_WORDS:
                alone = " beside other keys" if word == "parameters" else closest(str(word), known)
                raise ConfigError(f"{format_path((*here, str(word)))}: W&B does not know it{alone}")
        copy_tree(node, here, RESERVED)
        yield _Plain((*names, str(name)), node)


def _placed(plain: _Plain, base: Any) -> _Placed:
    """Find a parameter's place: a name with dots is a path where the base config has that, else a key."""
    place: TreePath = ()
    for name in plain.names:
        parts = (name,) if _below(base, (name,)) is not _ABSENT else tuple(name.split("."))
        if (below := _below(base, parts)) is _ABSENT:
            parts = (name,)
        place, base = (*place, *parts), below
    return _Placed(plain.names, plain.node, place)


def _below(tree: Any, keys: TreePath) -> Any:
    for key in keys:
        if not isinstance(tree, dict) or key not in tree:
            return _ABSENT
        tree = tree[key]
    return tree


def _put(tree: dict[str, Any], place: TreePath, value: Any, parameter: _Placed) -> None:
    *above, last = map(str, place)
    for key in above:
        tree = tree.setdefault(key, {})
    if last in tree or "sweep" in tree:
        raise ConfigError(f"parameters.{parameter.name}: another parameter has, or is in, the same place")
    tree[last] = value


def _read_otherwise(path: str) -> Iterator[str]:
    """Name what W&B, whose YAML is PyYAML's, reads as something else: `1e-3` as text, `12:30` as a number."""
    theirs = dict(_leaves(yaml.safe_load(Path(path).read_text(encoding="utf-8"))))
    for place, ours in _leaves(load_file(path)):
        if type(theirs.get(place, ours)) is not type(ours):
            yield f"{format_path(place)}: W&B reads {theirs[place]!r} here, dysweep {ours!r}"


def _leaves(tree: Any, path: TreePath = ()) -> Iterator[tuple[TreePath, Any]]:
    if isinstance(tree, (dict, list)):
        for key, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(item, (*path, key))
    else:
        yield path, tree


def _shown_otherwise(parameters: list[_Placed]) -> Iterator[str]:
    for each in parameters:
        if each.holds_trees and "values" in each.node:
            yield (
                f"{each.name}: W&B gets a text for each of these values, as {each.name}{_LABEL}; "
                f"the config and wandb.config.{each.names[0]} have the values"
            )


def _executed(described: Mapping[str, Any], parameters: list[_Placed]) -> Iterator[str]:
    """Say which command executes the runs, and what of W&B's command has another meaning."""
    command, program = described.get("command"), described.get("program")
    create = "to create the sweep, save this as config.yaml, and: dysweep_create -c config.yaml"
    if command is None and program is None:
        yield create
        yield "then: dysweep_run_resume -c config.yaml --package MODULE --function FUNCTION --sweep_id ID"
        return
    from dysweep.agents.program_job import ProgramJob  # imports wandb

    job = ProgramJob.of(command, program, grace=1.0, with_tree=True)
    if any("args" in word for word in job.words if word.startswith("${")):
        if nested := [each for each in parameters if len(each.names) > 1]:
            outer, name = nested[0].names[0], nested[0].name
            yield f"{name}: W&B gives the program --{outer}={{...}}, dysweep --{name}=VALUE"
        for each in parameters:
            if each.holds_trees:
                given = f"its label, --{each.name}{_LABEL}=TEXT" if "values" in each.node else "nothing"
                yield f"{each.name}: the program's arguments have {given}; wandb.config has the values"
    try:
        job.check()
    except ConfigError as error:
        yield str(error)
    yield create
    yield "then: dysweep_run_resume -c config.yaml --sweep_id ID"
