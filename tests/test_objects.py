"""Objects made from trees that name their classes, as Lightning and Hydra write them."""

import datetime
import sys
from pathlib import Path

import pytest

from dysweep import ConfigError, instantiate

MODULE = """
import os, sys
from subprocess import run

places = []

class Layer:
    def __init__(self, width=1, inner=(), name=""):
        self.width, self.inner, self.name = width, inner, name

class Optimizer:
    def __init__(self, parameters, lr, layer=None):
        self.parameters, self.lr, self.layer = parameters, lr, layer

def fails():
    raise RuntimeError("its own")
"""


@pytest.fixture(autouse=True)
def module(own_folder):
    (own_folder / "parts.py").write_text(MODULE)


def layer(**arguments):
    return {"class_path": "parts.Layer", "init_args": arguments}


def test_objects_are_made_inside_objects_lists_and_mappings():
    made = instantiate(
        layer(
            width=2,
            inner=[
                layer(width=3),
                {"here": layer(), "text": "class_path"},
                {"_target_": "parts.Layer", "width": 4},
            ],
        )
    )
    assert type(made).__name__ == "Layer" and made.width == 2
    assert made.inner[0].width == 3 and made.inner[1]["here"].width == 1
    assert made.inner[1]["text"] == "class_path" and made.inner[2].width == 4


def test_the_outermost_takes_positional_arguments_and_overrides():
    tree = {"class_path": "parts.Optimizer", "init_args": {"lr": 0.1, "layer": {"class_path": "not.there"}}}
    made = instantiate(tree, [1, 2], lr=0.5, layer=None)  # what is overridden is not made
    assert (made.parameters, made.lr, made.layer) == ([1, 2], 0.5, None)
    assert tree["init_args"]["lr"] == 0.1


def test_a_partial_still_takes_arguments_also_inside():
    half = instantiate({"_target_": "parts.Optimizer", "_partial_": True, "lr": 0.1})
    assert half([3]).parameters == [3]
    made = instantiate(layer(inner=[{"_target_": "parts.Optimizer", "_partial_": True, "lr": 2}]))
    assert made.inner[0]([1], layer=5).layer == 5


def test_without_init_args_and_of_the_standard_library():
    assert instantiate({"class_path": "parts.Layer"}).width == 1
    assert instantiate({"_target_": "datetime.date.fromisoformat"}, "2026-01-02") == datetime.date(2026, 1, 2)


WRONG = {
    "no class": ({"init_args": {}}, "class_path or _target_ is missing"),
    "no tree": ([], "class_path or _target_ is missing"),
    "not there": ({"class_path": "parts.Nothing"}, "config.class_path: there is no parts.Nothing"),
    "in a list": (layer(inner=[{"_target_": "nowhere.X"}]), r"inner\[0\]._target_: there is no nowhere.X"),
    "not callable": ({"_target_": "parts.places"}, "config._target_: parts.places cannot be called"),
    "not a name": ({"_target_": 3}, "config._target_: 3 is not a name"),
    "beside": ({"class_path": "parts.Layer", "width": 3}, "config.width: beside class_path,"),
    "no mapping": ({"class_path": "parts.Layer", "init_args": [1]}, "config.init_args: a mapping is needed"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_place(case):
    tree, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        instantiate(tree)


def test_errors_of_the_classes_are_their_own():
    with pytest.raises(RuntimeError, match="its own"):
        instantiate({"_target_": "parts.fails"})


FORBIDDEN = [
    "os.system", "subprocess.run", "builtins.eval",  # other names
    "parts.os.system", "parts.run", "parts.sys.exit",  # what a module has imported
    "parts.places.append", "parts.sys.path.append", "parts.os.environ.clear",  # what would change it
    "partsother.X",
]  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
def test_only_what_is_allowed_is_imported(name):
    Path("partsother.py").write_text("raise SystemExit('imported')\n")
    assert instantiate(
        layer(inner=[layer(), {"_target_": "parts.Optimizer", "_partial_": True}]), allow=["parts."]
    )
    with pytest.raises(ConfigError, match="is not allowed"):
        instantiate(layer(inner=[{"_target_": name}]), allow=["parts."])
    assert "partsother" not in sys.modules
