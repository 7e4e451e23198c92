"""A sweep seen before it is made: its parameters, and what its runs will be."""

from __future__ import annotations

import json
import logging
import pathlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

from dysweep.errors import ConfigError, LanguageError, misspelt
from dysweep.files import user_path
from dysweep.language.class_changes import class_changes
from dysweep.language.combinations import choose
from dysweep.language.definition import Definition
from dysweep.language.evaluate import carries_code
from dysweep.language.points import Grid, Points
from dysweep.language.tree import RESERVED, TreePath, format_path
from dysweep.text import short_value
from dysweep.yaml_text import dump_yaml

logger = logging.getLogger("dysweep")

_MOST_COMPARED, _FEWEST_COMPARED = 2_000, 100
_COMPARED_SETTINGS = 50_000  # in all compared runs together: some tenths of a second
_WRITTEN_RUNS = 10_000
_LONGEST_VALUES = 80
_NAMED_CHANGES = 10
_ABSENT = object()


@dataclass(frozen=True)
class Preview:
    """What a sweep would be.

    Args:
        definition: the sweep.
        points: its points; None if nobody knows them yet.
        size: how many runs it has at most; None if nobody knows, or if there is no end.
        mode: who serves it, online or offline.
        allow_eval: whether code in the sweep may run.
        wandb_keys: settings that W&B also gets under a short key, the paths by key.
    """

    definition: Definition
    points: Points | None
    size: int | None
    mode: str
    allow_eval: bool
    wandb_keys: dict[str, str]

    @property
    def counted_grid(self) -> Grid | None:
        """The grid of which it is known what is run: W&B itself chooses which points `run_cap` leaves."""
        if not isinstance(self.points, Grid):
            return None
        return self.points if self.mode == "offline" else replace(self.points, cap=None)

    def assignments(self) -> Iterator[dict[str, Any]]:
        """Return the points one after the other; an example if nobody knows them yet."""
        if self.points is None:
            yield choose(self.definition.space, lambda parameter: parameter.first)
            return
        size = self.points.size
        yield from map(self.points.assignment, count() if size is None else range(size))

    def configs(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Return each assignment with its config.

        Raises:
            LanguageError: a combination of values does not fit.
        """
        for assignment in self.assignments():
            yield assignment, self.config(assignment)

    def config(self, assignment: dict[str, Any]) -> dict[str, Any]:
        """Return the config of an assignment.

        Raises:
            LanguageError: this combination of values does not fit.
        """
        return self.definition.space.resolve(self.definition.base_config, assignment, self.allow_eval)

    def parameters(self) -> list[tuple[str, str, str]]:
        """Return for each parameter its name, its path in the YAML, and its values or distribution."""
        described = self.definition.space.parameters
        return [
            (parameter.name, format_path(parameter.path), values_of(described[parameter.name]))
            for parameter in self.definition.space.swept
        ]

    def write_configs(self, folder: pathlib.Path, limit: int | None) -> int:
        """Write configs as YAML files `0001.yaml`, ... and give how many.

        Args:
            folder: where to; it has to be new or empty.
            limit: how many at most.

        Raises:
            ConfigError: the folder is not empty or cannot be written, or there are too many.
            LanguageError: a combination of values does not fit.
        """
        size = 1 if self.points is None else self.points.size
        if limit is None and (size is None or size > _WRITTEN_RUNS):
            many = "no end of" if size is None else size
            raise ConfigError(f"--dry_run_dir: the sweep has {many} runs; say how many to write (--limit N)")
        try:
            folder = user_path(folder)
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise ConfigError(f"--dry_run_dir: {folder} is not empty")
            written = 0
            for written, (assignment, config) in enumerate(self.configs(), start=1):
                comment = f"# {json.dumps(assignment, ensure_ascii=False)}\n"
                text = comment + dump_yaml(config)
                (folder / f"{written:04d}.yaml").write_text(text, encoding="utf-8")
                if written == limit:
                    break
        except OSError as error:
            raise ConfigError(f"--dry_run_dir: {folder}: cannot be written ({error.strerror})") from None
        return written

    def warn(self) -> None:
        """Warn of what is doubtful: arguments of classes that are changed, and in the first points (2,000, or
        fewer where much is swept) no config, the same config, misspelt keys.
        """
        if carries_code(self.definition.space.tree) and not self.allow_eval:
            return
        self._warn_of_classes()
        base = self.definition.base_config
        resolve = self.definition.space.resolver(base, self.allow_eval)
        first: dict[str, int] = {}
        equal: list[tuple[int, int]] = []
        broken: list[LanguageError] = []
        added: dict[str, tuple[str, Iterable[str]]] = {}
        place = 0
        for place, assignment in enumerate(islice(self.assignments(), self._compared_runs()), start=1):
            try:
                config = resolve(assignment)
            except LanguageError as error:
                broken.append(error)
                continue
            added.update(_added_keys(base, config))
            known = first.setdefault(json.dumps(_changed(base, config), sort_keys=True), place)
            if known != place:
                equal.append((known, place))
        for path, (key, beside) in added.items():
            if meant := misspelt(key, [*beside, *RESERVED]):
                logger.warning("%s: the sweep adds this key to the config; did you mean %r?", path, meant)
        if broken:
            logger.warning("%d of %d runs will fail: %s", len(broken), place, broken[0])
        if equal and isinstance(self.points, Grid):
            logger.warning(
                "%d of %d runs have the same config as another one, runs %d and %d for example",
                len(equal), place, *equal[0],
            )  # fmt: skip

    def _compared_runs(self) -> int:
        """Return how many points are compared: fewer where much is swept."""
        swept = len(self.definition.space.flat)
        return min(_MOST_COMPARED, max(_FEWEST_COMPARED, _COMPARED_SETTINGS // swept))

    def _warn_of_classes(self) -> None:
        definition = self.definition
        changes = class_changes(definition.space, definition.base_config, self.counted_grid, self.allow_eval)
        more = (
            f" (and {len(changes) - _NAMED_CHANGES} more like this)" if len(changes) > _NAMED_CHANGES else ""
        )
        for number, (change, where) in enumerate(islice(changes.items(), _NAMED_CHANGES), start=1):
            logger.warning("%s: %s%s", where, change, more if number == _NAMED_CHANGES else "")


def values_of(parameter: dict[str, Any], most: int = 8) -> str:
    """Write for people what a flat parameter can be: its values, or its distribution."""
    values = parameter.get("values", [parameter["value"]] if "value" in parameter else None)
    if values is None:
        return " ".join(f"{key} {short_value(value)}" for key, value in parameter.items())
    shown: list[str] = []
    for value in values[:most]:
        shown.append(short_value(value))
        if len(shown) > 1 and sum(map(len, shown)) > _LONGEST_VALUES:
            shown.pop()
            break
    between = " | " if any("," in each for each in shown) else ", "
    more = f"{between}... ({len(values)} values)" if len(values) > len(shown) else ""
    return between.join(shown) + more


def differences(base: Any, config: Any, path: TreePath = ()) -> Iterator[tuple[str, str | None, str | None]]:
    """Return where a config differs from the base: path, old and new value as JSON; None where it has none.

    Where a class is replaced (`class_path`), the old one's arguments that it keeps are given as well, twice.
    """
    if isinstance(base, dict) and isinstance(config, dict):
        for key in [*config, *(key for key in base if key not in config)]:
            below = (*path, key)
            if key not in base:
                yield format_path(below), None, _flow(config[key])
            elif key not in config:
                yield format_path(below), _flow(base[key]), None
            else:
                yield from differences(base[key], config[key], below)
                if key == "init_args" and base.get("class_path") != config.get("class_path"):
                    yield from _kept(base[key], config[key], below)
    elif isinstance(base, list) and isinstance(config, list) and len(base) == len(config):
        for index, (old, new) in enumerate(zip(base, config, strict=True)):
            yield from differences(old, new, (*path, index))
    elif type(base) is not type(config) or _flow(base) != _flow(config):
        yield format_path(path), _flow(base), _flow(config)


def _kept(base: Any, config: Any, path: TreePath) -> Iterator[tuple[str, str, str]]:
    if isinstance(base, dict) and isinstance(config, dict):
        for key, value in config.items():
            if key in base and _flow(base[key]) == _flow(value):
                yield format_path((*path, key)), _flow(value), _flow(value)


def _added_keys(
    base: Any, config: Any, path: TreePath = ()
) -> Iterator[tuple[str, tuple[str, Iterable[str]]]]:
    """Return the paths of keys that the base lacks, with the key and those that the base has there."""
    if isinstance(base, dict) and isinstance(config, dict):
        for key, value in config.items():
            if key in base and (base[key] is value or base[key] == value):
                continue
            if key in base:
                yield from _added_keys(base[key], value, (*path, key))
            else:
                yield format_path((*path, key)), (key, base)
    elif isinstance(base, list) and isinstance(config, list) and len(base) == len(config):
        for index, (old, new) in enumerate(zip(base, config, strict=True)):
            yield from _added_keys(old, new, (*path, index))


def _changed(base: Any, config: Any) -> Any:
    """Return what of a config is not as in the base, the same for equal configs; None if nothing is."""
    if config is base:
        return None
    if isinstance(base, dict) and isinstance(config, dict):
        compared = {key: _changed(base.get(key, _ABSENT), value) for key, value in config.items()}
        gone = sorted(base.keys() - config.keys())
    elif isinstance(base, list) and isinstance(config, list) and len(base) == len(config):
        compared = dict(enumerate(map(_changed, base, config)))
        gone = []
    else:
        return None if repr(base) == repr(config) else {"": config}
    changed = {key: value for key, value in compared.items() if value is not None}
    return [changed, gone] if changed or gone else None


def _flow(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
