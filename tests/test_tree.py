"""What users put into trees: taken for what it is, or refused with its place and the way to write it."""

import argparse
import datetime
import enum
import json
import math
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import jsonargparse
import numpy as np
import pytest
from omegaconf import OmegaConf

import dysweep
from dysweep import LanguageError
from dysweep.language.tree import copy_tree


class Colour(enum.Enum):
    RED = "red"


class Mode(str, enum.Enum):
    FAST = "fast"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass
class Study:
    optimizer: Optimizer = field(default_factory=Optimizer)
    data: Path = Path("data/train")


class Frozen(Mapping):
    def __getitem__(self, key):
        return {"a": 1}[key]

    def __iter__(self):
        return iter(["a"])

    def __len__(self):
        return 1


STUDY = {"optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}, "data": "data/train"}
TAKEN = {
    "int64": (np.int64(3), 3),
    "float32": (np.float32(0.5), 0.5),
    "float64": (np.float64(0.1), 0.1),
    "bool_": (np.bool_(True), True),
    "str_": (np.str_("a"), "a"),
    "array": (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "array without dimensions": (np.array(2.0), 2.0),
    "range": (range(1, 6, 2), [1, 3, 5]),
    "tuple": ((1, (2,)), [1, [2]]),
    "deque": (deque([1, 2]), [1, 2]),
    "ordered": (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "mapping": (Frozen(), {"a": 1}),
    "dataclass": (Study(), STUDY),
    "path": (Path("a/b"), "a/b"),
    "text enum": (Mode.FAST, "fast"),
    "int enum": (Level.HIGH, 3),
    "text enum as key": ({Mode.FAST: 1}, {"fast": 1}),
    "argparse": (argparse.Namespace(a=1, b=argparse.Namespace(c=[2])), {"a": 1, "b": {"c": [2]}}),
    "simple": (SimpleNamespace(a=1), {"a": 1}),
    "jsonargparse": (jsonargparse.Namespace(a=1, b=jsonargparse.Namespace(c=2)), {"a": 1, "b": {"c": 2}}),
    "omegaconf": (OmegaConf.create({"a": [1, "${b}"], "b": 2}), {"a": [1, 2], "b": 2}),
    "omegaconf list": (OmegaConf.create([1, {"a": None}]), [1, {"a": None}]),
    "omegaconf dataclass": (OmegaConf.structured(Optimizer(lr=0.5)), {"lr": 0.5, "betas": [0.9, 0.99]}),
}


@pytest.mark.parametrize(("value", "plain"), TAKEN.values(), ids=TAKEN)
def test_what_is_beyond_doubt_is_taken_for_what_it_is(value, plain):
    copied = copy_tree({"x": value}, ("base_config",))
    assert json.dumps(copied, sort_keys=True) == json.dumps({"x": plain}, sort_keys=True)


def generator():
    yield 1


LOOP = OmegaConf.create({"a": "${b}"})
REFUSED = {
    "keys": ({"a": 1}.keys(), "a dict_keys cannot be in a config; write list(...) of it"),
    "generator": (generator(), "a generator cannot be in a config; write list(...) of it"),
    "set": ({1, 2}, "a set cannot be in a config; it has no order; write a list, as sorted(...) gives it"),
    "enum": (Colour.RED, "a Colour cannot be in a config; write its .value or its .name"),
    "date": (datetime.date(2026, 1, 1), "a date cannot be in a config; write it as text, in quotes"),
    "numpy's date": (
        np.datetime64("2026-01-01T00:00:00.000000000"),
        "a datetime64 cannot be in",
    ),
    "bytes": (b"a", "a bytes cannot be in a config; write text"),
    "decimal": (Decimal("0.1"), "a Decimal cannot be in a config; write float(...) of it"),
    "fraction": (Fraction(1, 3), "a Fraction cannot be in a config; write float(...) of it"),
    "complex": (
        1j,
        "a complex cannot be in a config; allowed are text, numbers, true/false, null, lists and",
    ),
    "class": (Optimizer, "a type cannot be in a config; write its name as text, as 'test_tree.Optimizer'"),
    "numpy's class": (np.float32, "a type cannot be in a config; write its name as text, as 'numpy.float32'"),
    "endless": (range(10**9), "a range of 1000000000 numbers is too long"),
    "unresolved": (LOOP, "OmegaConf cannot resolve this: Interpolation key 'b' not found"),
}


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_in_doubt_is_refused_with_its_place_and_how_to_write_it(value, message):
    for base, values, place in [
        ({"lr": 1, "x": {"y": [value]}}, [1], "base_config.x.y[0]: "),
        ({"lr": 1}, [1, value], "sweep_configuration.lr.values[1]: "),
    ]:
        with pytest.raises(LanguageError) as raised:
            dysweep.dysweep_run_resume(
                mode="offline",
                base_config=base,
                sweep_configuration={"lr": {"sweep": True, "values": values}},
            )
        assert str(raised.value).startswith(place + message)
    assert not Path("dysweep_logs").exists()


def test_whole_trees_and_whole_values_may_be_such_objects():
    seen = []

    def record(config, checkpoint_dir):
        seen.append(config)

    for base, values, expected in [
        (Study(), np.array([0.5, 0.25]), [0.5, 0.25]),
        (argparse.Namespace(optimizer={"lr": 1}), range(2), [0, 1]),
        (OmegaConf.create({"optimizer": {"lr": 1}}), OmegaConf.create([1, 2]), [1, 2]),
        ({"optimizer": {"lr": 1}}, (np.float32(0.5), 1), [0.5, 1]),
    ]:
        tree = {"optimizer": {"lr": {"sweep": True, "values": values}}}
        settings = {"mode": "offline", "base_config": base, "sweep_configuration": tree}
        sweep_id = dysweep.dysweep_run_resume(**settings)
        dysweep.dysweep_run_resume(sweep_id=sweep_id, function=record, **settings)
        assert [config["optimizer"]["lr"] for config in seen] == expected
        seen.clear()


def test_nan_in_a_base_and_in_values_is_a_value_as_any_other(caplog):
    seen = []

    def record(config, checkpoint_dir):
        seen.append(config)

    base = {"lr": 0.1, "fill": math.nan, "most": math.inf}
    tree = {"lr": {"sweep": True, "values": [math.nan, -math.inf, 1.0]}}
    settings = {"mode": "offline", "base_config": base, "sweep_configuration": tree}
    sweep_id = dysweep.dysweep_run_resume(**settings)
    dysweep.dysweep_run_resume(sweep_id=sweep_id, function=record, **settings)
    assert "not used" not in caplog.text
    assert [str(config["lr"]) for config in seen] == ["nan", "-inf", "1.0"]
    assert all(math.isnan(config["fill"]) and config["most"] == math.inf for config in seen)
    changed = {**settings, "base_config": {**base, "fill": 0.0}}
    dysweep.dysweep_run_resume(sweep_id=sweep_id, function=record, **changed)
    assert f"base_config: not used, as the sweep {sweep_id} keeps what it was created with" in caplog.text


@pytest.mark.torch
def test_tensors_are_lists_and_numbers():
    torch = pytest.importorskip("torch")
    tree = {"tensor": torch.tensor([1, 2]), "scalar": torch.tensor(1.5, requires_grad=True)}
    assert copy_tree(tree, ("base_config",)) == {"tensor": [1, 2], "scalar": 1.5}
    with pytest.raises(LanguageError, match=r"^base_config: its .tolist\(\) failed"):
        copy_tree(torch.ones(2, device="meta"), ("base_config",))
