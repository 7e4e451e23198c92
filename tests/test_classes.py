"""Classes that a sweep changes: arguments that stay, and those that a class does not take."""

import json
from pathlib import Path

import pytest
import yaml

from dysweep import ConfigError, ResumableSweepConfig, cli, dysweep_run_resume

BASE = """
base_config:
  lr: 1
  model: {class_path: pkg.MLP, init_args: {hidden: 8, depth: 2}}
  hydra: {_target_: pkg.MLP, _convert_: all, hidden: 8, depth: 2}
  layers:
    - {class_path: pkg.Conv, init_args: {width: 3}}
    - {class_path: pkg.Drop, init_args: {p: 0.5, width: 3}}
  outer:
    inner: {class_path: pkg.MLP, init_args: {hidden: 8, model: {class_path: pkg.MLP, init_args: {depth: 1}}}}
"""
STAYS = "model.class_path becomes pkg.CNN; init_args hidden, depth of pkg.MLP stay; dy__replace drops them"
LAYER = "layers[1].class_path becomes pkg.Norm; init_args p, width of pkg.Drop stay; dy__replace drops them"
MODULE = """
print("imported")

class MLP:
    def __init__(self, hidden=8, depth=2): raise RuntimeError("made")

class CNN:
    def __init__(self, width, *, kernel=3): raise RuntimeError("made")

class Anything:
    def __init__(self, **others): raise RuntimeError("made")

class Silent:
    __signature__ = "none"

class Nothing:
    pass
"""


def create(capsys, space, *arguments, base=BASE):
    Path("config.yaml").write_text(f"{base}\nsweep_configuration:\n  {space}\n")
    code = cli.create(["-c", "config.yaml", *arguments])
    out, err = capsys.readouterr()
    return code, out, [line for line in err.splitlines() if not line.startswith(("sweep ", "  ", "next: "))]


CHANGES = {
    "a branch": (
        "{lr: {sweep: true, values: [1, 2, 3]}, model: {sweep: true, values: [{}, {class_path: pkg.CNN}]}}",
        [f"run 2: {STAYS}"],
    ),
    "the parameter that changes least often": (
        "{model: {sweep: true, values: [{}, {class_path: pkg.CNN}]}, lr: {sweep: true, values: [1, 2, 3]}}",
        [f"run 4: {STAYS}"],
    ),
    "the class alone": (
        "model: {class_path: {sweep: true, values: [pkg.MLP, pkg.CNN]}}",
        [f"run 2: {STAYS}"],
    ),
    "a constant": (
        "{lr: {sweep: true, values: [1, 2]}, model: {class_path: pkg.CNN}}",
        [f"run 1: {STAYS}"],
    ),
    "some arguments given": (
        "model: {sweep: true, values: [{}, {class_path: pkg.CNN, init_args: {hidden: 8, width: 1}}]}",
        ["run 2: model.class_path becomes pkg.CNN; init_args depth of pkg.MLP stays; dy__replace drops it"],
    ),
    "siblings of _target_": (
        "hydra: {sweep: true, values: [{}, {_target_: pkg.CNN, width: 3}]}",
        ["run 2: hydra._target_ becomes pkg.CNN; hidden, depth of pkg.MLP stay; dy__replace drops them"],
    ),
    "a list": ("layers: [{}, {class_path: {sweep: true, values: [pkg.Norm]}}]", [f"run 1: {LAYER}"]),
    "an element": (
        "layers: {__IDX__-1: {sweep: true, values: [{class_path: pkg.Norm}]}}",
        [f"run 1: {LAYER}"],
    ),
    "a list that was edited before": (
        "dy__upsert: [{layers: {dy__list__operations: [{dy__remove: 0}, {dy__insert: [0, {}]}]}}, "
        "{sweep: true, values: [{layers: {__IDX__1: {class_path: pkg.Norm}}}]}]",
        [f"run 1: {LAYER}"],
    ),
    "siblings of list operations": (
        "layers: {sweep: true, values: [{dy__list__operations: [{dy__overwrite: 1}], class_path: pkg.Norm}]}",
        [f"run 1: {LAYER}"],
    ),
    "dy__upsert and groups": (
        "{dy__upsert: [{sweep: true, values: [{}, {model: {class_path: pkg.CNN}}]}], "
        "sweep_group_a: {sweep: true, values: [{}, {model: {class_path: pkg.RNN}}]}}",
        [f"run 2: {STAYS.replace('CNN', 'RNN')}", f"run 3: {STAYS}"],
    ),
    "inside a branch": (
        "outer: {sweep: true, values: [{}, {inner: {init_args: {model: {sweep: true, values: "
        "[{}, {class_path: pkg.CNN}]}}}}]}",
        ["run 3: outer.inner.init_args.model.class_path becomes pkg.CNN; init_args depth of pkg.MLP stays; "
        "dy__replace drops it"],
    ),
    "a zip": (
        "{model: {class_path: {sweep: true, sweep_zip: z, values: [pkg.MLP, pkg.CNN]}}, "
        "lr: {sweep: true, sweep_zip: z, values: [1, 2]}}",
        [f"run 2: {STAYS}"],
    ),
    "a zip of mappings": (
        "{lr: {sweep: true, sweep_zip: z, values: [1, 2]}, "
        "model: {sweep: true, sweep_zip: z, sweep_alias: [a, b], values: [{}, {class_path: pkg.CNN}]}}",
        [f"run 2: {STAYS}"],
    ),
    "a swept index": (
        "layers: {dy__list__operations: [{dy__overwrite: {sweep: true, values: [0, 1]}}], "
        "class_path: pkg.Norm, init_args: {width: 1}}",
        ["run 2: layers[1].class_path becomes pkg.Norm; init_args p of pkg.Drop stays; dy__replace drops it"],
    ),
    "each kind once": (
        "{model: {sweep: true, values: [{class_path: pkg.CNN}, {class_path: pkg.CNN, init_args: {w: 1}}, "
        "{class_path: pkg.RNN}]}, lr: {sweep: true, min: 1, max: 1000000}}",
        [f"run 1: {STAYS}", f"run 2000001: {STAYS.replace('CNN', 'RNN')}"],
    ),
    "in a random order": (
        "{sweep_shuffle: 1, model: {sweep: true, values: [{}, {}, {class_path: pkg.CNN}]}, "
        "lr: {sweep: true, values: [1, 2, 3]}}",
        [f"run {{}}: {STAYS}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("space", "lines"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("options", [["--dry_run", "--limit=9"], []], ids=["dry_run", "create"])
def test_arguments_of_a_class_that_is_changed_are_named(capsys, space, lines, options):
    code, out, err = create(capsys, space, *options)
    said = [line for line in err if " becomes " in line]
    if "{}" in lines[0]:  # the first run of those that are shown
        shown = create(capsys, space, "--dry_run", "--limit=9")[1].splitlines()
        first = next(line for line in shown if line.startswith("run ") and "class_path" in line)
        lines = [lines[0].format(first.removeprefix("run ").partition(":")[0])]
    assert code == 0 and said == lines


SILENT = {
    "dy__replace": (
        "model: {sweep: true, values: [{}, {dy__replace: {class_path: pkg.CNN, init_args: {w: 1}}}]}"
    ),
    "dy__replace of the arguments": (
        "model: {sweep: true, values: [{class_path: pkg.CNN, init_args: {dy__replace: {width: 1}}}]}"
    ),
    "dy__delete": (
        "model: {sweep: true, values: [{class_path: pkg.CNN, init_args: {dy__delete: [hidden, depth]}}]}"
    ),
    "all given": "model: {sweep: true, values: [{class_path: pkg.CNN, init_args: {hidden: 8, depth: 2}}]}",
    "all of _target_ given": "hydra: {sweep: true, values: [{_target_: pkg.CNN, hidden: 8, depth: 3}]}",
    "given elsewhere": (
        "{model: {class_path: pkg.CNN, init_args: {hidden: {sweep: true, values: [1, 2]}}}, "
        "dy__upsert: [{model: {init_args: {depth: 2}}}]}"
    ),
    "the same class": "model: {sweep: true, values: [{class_path: pkg.MLP}]}",
    "an element that moves": "layers: {sweep: true, values: [{dy__list__operations: [{dy__remove: 0}]}]}",
    "a new element": (
        "layers: {sweep: true, values: [{dy__list__operations: [{dy__remove: 0}, "
        "{dy__insert: [0, {class_path: pkg.A, init_args: {width: 3}}]}]}]}"
    ),
    "a class beyond the cap": (
        "{parameters: {model: {sweep: true, values: [{}, {class_path: pkg.CNN}]}}, run_cap: 1}"
    ),
    "no class": "model: {init_args: {hidden: {sweep: true, values: [1, 2]}}}",
}


@pytest.mark.parametrize("space", SILENT.values(), ids=SILENT)
def test_where_nothing_stays_nothing_is_said(capsys, space):
    code, _, err = create(capsys, space, "--dry_run")
    assert code == 0 and not [line for line in err if " becomes " in line]


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_what_is_drawn_has_no_first_run_and_is_named_by_its_value(capsys, method):
    space = (
        f"{{method: {method}, metric: {{name: loss}}, parameters: {{"
        "o: {sweep: true, sweep_alias: [a, b], values: [{}, {model: {sweep: true, sweep_alias: [mlp, cnn], "
        "values: [{}, {class_path: pkg.CNN}]}}]}, hydra: {_target_: pkg.CNN}, "
        "model: {sweep: true, sweep_alias: [mlp, cnn], values: [{}, {class_path: pkg.CNN}]}, "
        "outer: {sweep: true, values: [{}, {inner: {sweep: true, sweep_alias: [y, x], "
        "values: [{}, {class_path: pkg.RNN}]}}]}}}"
    )
    code, _, err = create(capsys, space, "--dry_run", "--mode", "online")
    assert code == 0 and [line for line in err if " becomes " in line] == [
        "every run: hydra._target_ becomes pkg.CNN; hidden, depth of pkg.MLP stay; dy__replace drops them",
        f"model=cnn: {STAYS}",
        "outer.1.inner=x: outer.inner.class_path becomes pkg.RNN; init_args hidden, model of pkg.MLP stay; "
        "dy__replace drops them",
    ]


def test_of_a_large_grid_in_a_random_order_all_values_are_looked_at(capsys):
    """Not all occur in the first 10,000 runs."""
    model = {"sweep": True, "values": [{"class_path": f"pkg.C{number}"} for number in range(2_500)]}
    space = {"sweep_shuffle": 1, "model": model, "lr": {"sweep": True, "min": 1, "max": 10**9}}
    code, _, err = create(capsys, json.dumps(space), "--dry_run")
    said = [line for line in err if " becomes " in line]
    assert code == 0 and len(said) == 10 and said[-1].endswith(" (and 2490 more like this)")
    assert all(line.startswith("run ") for line in said)


def test_a_sweep_made_in_python_says_it_too(caplog):
    base = {"model": {"class_path": "pkg.MLP", "init_args": {"hidden": 1, "depth": 2}}}
    space = {"model": {"sweep": True, "values": [{}, {"class_path": "pkg.CNN"}]}}
    dysweep_run_resume(base_config=base, sweep_configuration=space)
    assert f"run 2: {STAYS}" in caplog.messages


@pytest.fixture
def module(own_folder):
    (own_folder / "parts.py").write_text(MODULE)
    (own_folder / "broken.py").write_text("import nowhere.at_all")
    (own_folder / "leaving.py").write_text("raise SystemExit('no display')")


PARTS = """
base_config:
  lr: 1
  model: {class_path: parts.MLP, init_args: {hidden: 8}}
  hydra: {_target_: parts.MLP, _partial_: true, hidden: 8}
  layers: [{class_path: parts.MLP}, {class_path: parts.Anything, init_args: {any: 1}}]
"""
REFUSED = {
    "an argument": (
        "model: {sweep: true, values: [{}, {init_args: {hiden: 3}}]}",
        "model.init_args.hiden: parts.MLP takes no argument 'hiden'; did you mean 'hidden'? (run 2)",
    ),
    "an argument that a class inherits": (
        "{lr: {sweep: true, values: [1, 2]}, "
        "model: {sweep: true, values: [{}, {class_path: parts.CNN, init_args: {width: 1}}]}}",
        "model.init_args.hidden: parts.CNN takes no argument 'hidden'; there are width, kernel (run 2)",
    ),
    "a swept argument": (
        "model: {init_args: {dept: {sweep: true, values: [1, 2]}}}",
        "model.init_args.dept: parts.MLP takes no argument 'dept'; did you mean 'depth'? (run 1)",
    ),
    "a sibling of _target_": (
        "hydra: {sweep: true, values: [{}, {_target_: parts.Nothing}]}",
        "hydra.hidden: parts.Nothing takes no argument 'hidden'; it takes none (run 2)",
    ),
    "in a list, in an argument": (
        "layers: [{}, {init_args: {any: {sweep: true, values: "
        "[{class_path: parts.CNN, init_args: {kernl: 1}}]}}}]",
        "layers[1].init_args.any.init_args.kernl: parts.CNN takes no argument 'kernl'; "
        "did you mean 'kernel'? (run 1)",
    ),
    "no such class": (
        "model: {sweep: true, values: [{}, {class_path: parts.CNNN}]}",
        "model.class_path: there is no parts.CNNN; it is looked for in the working directory and among the "
        "installed packages (run 2)",
    ),
    "no such module": (
        "hydra: {sweep: true, values: [{_target_: no_module.CNN}]}",
        "hydra._target_: there is no no_module.CNN; it is looked for in the working directory and among the "
        "installed packages (run 1)",
    ),
    "a module that fails": (
        "model: {sweep: true, values: [{class_path: broken.CNN}]}",
        "model.class_path: broken.CNN cannot be imported (ModuleNotFoundError: No module named 'nowhere') "
        "(run 1)",
    ),
    "a module that exits": (
        "model: {sweep: true, values: [{class_path: leaving.CNN}]}",
        "model.class_path: leaving.CNN cannot be imported (SystemExit: no display) (run 1)",
    ),
    "no text": (
        "model: {sweep: true, values: [{class_path: 3}]}",
        "model.class_path: 3 is not a name, as package.module.Class (run 1)",
    ),
    "no mapping": (
        "model: {init_args: {sweep: true, values: [[1]]}}",
        "model.init_args: a mapping is needed, got [1] (run 1)",
    ),
    "drawn": (
        "{method: random, parameters: {model: {sweep: true, sweep_alias: [a, b], values: "
        "[{}, {init_args: {hiden: 3}}]}}}",
        "model.init_args.hiden: parts.MLP takes no argument 'hiden'; did you mean 'hidden'? (model=b)",
    ),
}


@pytest.mark.parametrize(("space", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("options", [["--dry_run"], []], ids=["dry_run", "create"])
def test_what_a_class_does_not_take_is_refused_before_anything_is_made(
    capsys, module, space, message, options
):
    options = [*options, "--mode=online"] if "method: random" in space else options
    code, out, err = create(capsys, space, "--check_classes", *options, base=PARTS)
    assert (code, out, err[-1]) == (2, "", f"dysweep_create: {message}") and not Path("dysweep_logs").exists()


def test_classes_of_a_sweep_made_in_python_are_checked(module):
    settings = yaml.safe_load(PARTS) | {"sweep_configuration": yaml.safe_load(REFUSED["an argument"][0])}
    with pytest.raises(ConfigError, match="model.init_args.hiden: parts.MLP takes no argument 'hiden'"):
        dysweep_run_resume(ResumableSweepConfig(**settings, check_classes=True))


ACCEPTED = {
    "any argument": "model: {sweep: true, values: [{}, {class_path: parts.Anything, init_args: {x: 1}}]}",
    "no signature": "model: {sweep: true, values: [{class_path: parts.Silent}]}",
    "what is replaced": (
        "model: {sweep: true, values: [{}, {dy__replace: {class_path: parts.CNN, init_args: {width: 1}}}]}"
    ),
    "words of Hydra": "hydra: {sweep: true, values: [{_convert_: all, _recursive_: false, depth: 3}]}",
    "the standard library": (
        "model: {sweep: true, values: [{dy__replace: {class_path: fractions.Fraction, init_args: "
        "{numerator: 1}}}]}"
    ),
}


@pytest.mark.parametrize("space", ACCEPTED.values(), ids=ACCEPTED)
def test_what_a_class_takes_is_accepted_and_nothing_but_the_import_is_run(capsys, module, space):
    code, out, err = create(capsys, space, "--check_classes", base=PARTS)
    assert code == 0 and len(out.splitlines()) == 1 and "imported" not in out and "imported" in err


def test_classes_are_imported_only_if_it_is_asked_for(capsys, module):
    code, _, err = create(capsys, REFUSED["an argument"][0], base=PARTS)
    assert code == 0 and "imported" not in err


def test_the_page_shows_what_is_said():
    page = (Path(__file__).parent.parent / "tutorials/docs/spaces.md").read_text(encoding="utf-8")
    assert f"\nrun 2: {STAYS}\n" in page
    assert f"\ndysweep_create: {REFUSED['an argument'][1].replace('parts.', 'pkg.')}\n" in page
