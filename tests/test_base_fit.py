"""What a sweep sets is compared with the base config at creation: words that hardly mean what they do."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from dysweep import cli, dysweep_run_resume, open_sweep
from dysweep.yaml_text import dump_yaml

BASE = """
base_config:
  data: {batch_size: 16, augment: true, fill: null}
  opt: {class_path: torch.optim.SGD, init_args: {lr: 0.1, momentum: 0.9}}
  hydra: {_target_: torch.optim.SGD, lr: 0.1, momentum: 0.9}
  layers: [{dim: 8}, {dim: 8}]
  beta1: 0.9
  absent: "None"
"""


def create(capsys, text, *arguments):
    Path("config.yaml").write_text(text)
    code = cli.create(["-c", "config.yaml", *arguments])
    return code, capsys.readouterr()


REFUSED = {
    "a dotted key": (
        "data.batch_size: {sweep: true, values: [32, 64]}",
        "['data.batch_size']: a key with dots is a new key, not a path, and base_config has "
        "data.batch_size; write data: {batch_size: ...}",
    ),
    "a deep dotted key": (
        "opt.init_args.lr: {sweep: true, values: [1]}",
        "['opt.init_args.lr']: a key with dots is a new key, not a path, and base_config has "
        "opt.init_args.lr; write opt: {init_args: {lr: ...}}",
    ),
    "a dotted key inside": ("opt: {init_args.lr: {sweep: true, values: [1]}}", "write init_args: {lr: ...}"),
    "a dotted key in a value": (
        "dy__upsert: [{sweep: true, values: [{data.batch_size: 3}, {}]}]",
        "dy__upsert[0].values[0]['data.batch_size']: a key with dots is a new key, not a path",
    ),
    "a dotted key in a constant": (
        "{data.batch_size: 3, beta1: {sweep: true, values: [1]}}",
        "['data.batch_size']: a key with dots",
    ),
    "a dotted key in an element": (
        "layers: {__IDX__0: {sweep: true, values: [{}]}, __IDX__1: {sub: 1, sub.dim: 1}}, data.fill: 3",
        "['data.fill']: a key with dots is a new key, not a path",
    ),
    "W&B's constant": (
        "{beta1: {sweep: true, values: [1]}, task: {value: WNLI}}",
        "task: a constant is written without W&B's `value`; write `task: WNLI`",
    ),
    "W&B's constant with its distribution": (
        "{beta1: {sweep: true, values: [1]}, data: {batch_size: {distribution: constant, value: 3}}}",
        "data.batch_size: a constant is written without W&B's `value`; write `batch_size: 3`",
    ),
    "W&B's nesting": (
        "{beta1: {sweep: true, values: [1]}, opt: {parameters: {lr: {sweep: true, values: [1]}}}}",
        "opt.parameters: W&B's nested `parameters` is not needed; write its keys in its place",
    ),
}


@pytest.mark.parametrize(("space", "message"), REFUSED.values(), ids=REFUSED)
def test_what_would_become_a_silent_new_key_is_refused(capsys, space, message):
    space = space if space.startswith("{") else f"{{{space}}}"
    code, (out, err) = create(capsys, f"{BASE}sweep_configuration: {space}\n")
    assert (code, out) == (2, "") and err.startswith("dysweep_create: sweep_configuration")
    assert message in err and err.count("\n") == 1 and not Path("dysweep_logs").exists()


TAKEN = {
    "dots that are in the base": ("base_config: {a.b: 1, a: {b: 2}}", "a.b: {sweep: true, values: [1, 2]}"),
    "a setting named value": (
        "base_config: {t: {value: 1}, b: 1}",
        "{t: {value: 3}, b: {sweep: true, values: [1]}}",
    ),
    "parameters of the base": (
        "base_config: {t: {parameters: {a: 1}}}",
        "t: {parameters: {a: {sweep: true, values: [1, 2]}}}",
    ),
    "value in an alternative": ("base_config: {t: 1}", "t: {sweep: true, values: [{value: 1}, {value: 2}]}"),
    "one of a series": ("base_config: {beta1: 0.9}", "beta2: {sweep: true, values: [1, 2]}"),
    "the same class": (
        "base_config: {o: {class_path: A, init_args: {a: 1}}}",
        "o: {sweep: true, values: [{class_path: A}, {class_path: A, init_args: {b: 1}}]}",
    ),
    "texts for a text": ("base_config: {a: x}", "a: {sweep: true, values: ['None', 'nan', '1', 'true']}"),
    "an argument swept elsewhere": (
        "base_config: {o: {class_path: A, init_args: {lr: 1}}}",
        "dy__upsert: [{sweep: true, values: [{o: {class_path: B}}, {}]}, {sweep: true, values: "
        "[{o: {init_args: {lr: 1}}}, {o: {init_args: {lr: 2}}}]}]",
    ),
    "an argument of a class": (
        "base_config: {o: {class_path: A, init_args: {a: 1}}}",
        "o: {init_args: {other: {sweep: true, values: [1, 2]}}}",
    ),
    "texts with brackets": ("base_config: {a: null}", "a: {sweep: true, values: ['(a, b)', '(top) 1']}"),
    "a path and a time": ("base_config: {a: 1}", "a: {sweep: true, values: ['1:2', a/b]}"),
    "an empty base": ("base_config: {}", "a: {sweep: true, values: [1, 2]}"),
}


@pytest.mark.parametrize(("base", "space"), TAKEN.values(), ids=TAKEN)
def test_what_is_meant_is_not_doubted(capsys, base, space):
    space = space if space.startswith("{") else f"{{{space}}}"
    code, (_, err) = create(capsys, f"{base}\nsweep_configuration: {space}\n")
    assert code == 0 and err.startswith("sweep ")


DOUBTS = {
    "None": (
        "data: {fill: {sweep: true, values: [None, x, -1]}}",
        "data.fill.values[0]: the text 'None', where base_config has null; YAML's word for nothing is null",
    ),
    "null for None": (
        "absent: {sweep: true, values: [null, x]}",
        "null, where base_config has the text 'None'",
    ),
    "None for a number": (
        "data: {batch_size: {sweep: true, values: [8, None, none]}}",
        "data.batch_size.values[1]: the text 'None', where base_config has a number; YAML's word for "
        "nothing is null (and 1 more like this)",
    ),
    "nan": (
        "beta1: {sweep: true, values: [nan, 1]}",
        "the text 'nan', where base_config has a number; YAML's numbers",
    ),
    "a number in quotes": (
        "beta1: {sweep: true, values: ['1e-3', 1]}",
        "the text '1e-3', where base_config has a numb",
    ),
    "a boolean in quotes": (
        "data: {augment: {sweep: true, values: ['False']}}",
        "where base_config has true; write it",
    ),
    "None in the base": ("beta1: {sweep: true, values: [1]}", "base_config.absent: the text 'None'; YAML's"),
    "a tuple": (
        "betas: {sweep: true, values: ['(0.9, 0.999)', '(0.9, 0.95)']}",
        "betas.values[0]: the text '(0.9, 0.999)'; YAML's lists are written in square brackets, as [0.9, "
        "0.999] (and 1 more like this)",
    ),
    "tuples that YAML has cut": (
        "betas: {sweep: true, values: [(0.9, 0.999), (0.9, 0.95)]}",
        "betas.values[0]: the text '(0.9'; YAML's lists are written in square brackets, as [0.9, 0.999] (and "
        "3 more like this)",
    ),
    "arithmetic": (
        "beta1: {sweep: true, values: [1/3, 2**-4]}",
        "beta1.values[0]: the text '1/3', where base_config has a number; YAML does not calculate",
    ),
    "a colon without a blank": (
        "{data: {'batch_size:8': null}, beta1: {sweep: true, values: [1]}}",
        "data.batch_size:8: a key without a value; write a blank after the colon: `batch_size: 8`",
    ),
    "a mapping for a scalar": (
        "beta1: {x: {sweep: true, values: [1, 2]}}",
        "beta1: a mapping, where base_config has the number 0.9, which it replaces",
    ),
    "an empty mapping for a scalar": (
        "beta1: {sweep: true, values: [{}, 0.5]}",
        "beta1.values[0]: a mapping, where base_config has the number 0.9, which it replaces",
    ),
    "equal values": (
        "beta1: {sweep: true, values: [0.5, 1, 1.0]}",
        "beta1.values: 1 and 1.0 are the same value, and get a run each",
    ),
    "inherited arguments": (
        "opt: {sweep: true, values: [{}, {class_path: torch.optim.Adam, init_args: {lr: 1e-3}}]}",
        "run 2: opt.class_path becomes torch.optim.Adam; init_args momentum of torch.optim.SGD stays; "
        "dy__replace drops it\n",
    ),
    "arguments that Hydra inherits": (
        "hydra: {sweep: true, values: [{}, {_target_: torch.optim.Adam, lr: 1e-3}]}",
        "run 2: hydra._target_ becomes torch.optim.Adam; momentum of torch.optim.SGD stays; dy__replace",
    ),
    "arguments inherited in patches": (
        "dy__upsert: [{sweep: true, values: [{opt: {class_path: torch.optim.Adam}}, {}]}]",
        "run 1: opt.class_path becomes torch.optim.Adam; init_args lr, momentum of torch.optim.SGD stay; "
        "dy__replace drops them\n",
    ),
    "new keys": (
        "{weights: {sweep: true, values: [1]}, data: {size: {sweep: true, values: [1]}}}",
        "weights, data.size: are swept and not in base_config; every run gets a new key",
    ),
}


def test_a_base_config_that_was_hardly_meant_so_is_said_once(capsys):
    base = "base_config: {a: None, betas: '(0.9, 0.999)', lr:1: null, b: {c:2}}"
    code, (_, err) = create(capsys, f"{base}\nsweep_configuration: {{x: {{sweep: true, values: [1]}}}}\n")
    said = "base_config.a: the text 'None'; YAML's word for nothing is null (and 3 more like this)"
    assert code == 0 and err.count(said) == 1


@pytest.mark.parametrize(("space", "message"), DOUBTS.values(), ids=DOUBTS)
def test_what_is_hardly_meant_is_said_once_and_made(capsys, space, message):
    space = space if space.startswith("{") else f"{{{space}}}"
    code, (_, err) = create(capsys, f"{BASE}sweep_configuration: {space}\n")
    assert code == 0 and err.count(message) == 1 and err.index(message) < err.index("sweep ", 25)


def test_the_preview_shows_inherited_arguments_and_keys_with_dots_as_they_are(capsys):
    space = "{opt: {sweep: true, values: [{class_path: Adam, init_args: {lr: 1e-3}}]}, new.key: 3}"
    code, (out, _) = create(capsys, f"{BASE}sweep_configuration: {space}\n", "--dry_run")
    assert code == 0 and [line.rstrip() for line in out.splitlines()][3:] == [
        '  opt.class_path: "torch.optim.SGD" -> "Adam"',
        "  opt.init_args.lr: 0.1 -> 0.001",
        "  opt.init_args.momentum: 0.9 (kept)",
        "  ['new.key']: 3",
    ]


WRONG_FILES = {
    "a sweep file of W&B": (
        "program: train.py\nmethod: grid\nmetric: {name: val/auc, goal: maximize}\n"
        "parameters:\n  max_depth: {values: [4, 12]}\n",
        "config.yaml: this is a sweep file of W&B; dysweep_create --from_wandb config.yaml prints settings",
    ),
    "bare parameters": (
        "lr: {sweep: true, values: [1]}",
        "config.yaml: lr: what is swept belongs below `sweep_configuration:`",
    ),
    "a base config": (
        "trainer: {epochs: 3}\noptimizer: {lr: 1}",
        "config.yaml: trainer: unknown setting; the tree that every run starts from belongs below",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_file_of_another_kind_is_told_where_it_belongs(capsys, text, message):
    code, (out, err) = create(capsys, text)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1 and "mark_preempting" not in err


def test_a_tilde_and_variables_in_paths_that_a_user_gives_are_replaced(tmp_path, monkeypatch, capsys):
    home, work = tmp_path / "home", tmp_path / "work"
    (home / "trees").mkdir(parents=True)
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("STUDIES", str(home / "studies"))
    (home / "trees" / "base.yaml").write_text("lr: 1")
    (home / "trees" / "space.yaml").write_text("lr: {sweep: true, values: [1, 2]}")
    (home / "config.yaml").write_text(
        "default_root_dir: ~/sweeps\nbase_config: ~/trees/base.yaml\n"
        "sweep_configuration: ~/trees/space.yaml\n"
    )
    assert cli.create(["-c", "~/config.yaml"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    assert cli.create(["-c", "~/config.yaml", "--custom_checkpoint_dir=~/mine"]) == 0
    assert cli.create(["-c", "~/config.yaml", "--default_root_dir=$STUDIES"]) == 0
    assert cli.create(["-c", "~/config.yaml", "--dry_run", "--dry_run_dir=~/configs"]) == 0
    for option in ("--csv=~/runs.csv", "--html=~/runs.html"):
        assert cli.status(["--sweep_id", sweep_id, "--default_root_dir=~/sweeps", option]) == 0
    assert cli.status(["--default_root_dir=~/sweeps"]) == 0 and sweep_id in capsys.readouterr().out
    assert open_sweep(sweep_id, "~/sweeps").counts == {"pending": 2}
    assert sorted(path.name for path in home.iterdir()) == [
        "config.yaml", "configs", "mine", "runs.csv", "runs.html", "studies", "sweeps", "trees",
    ]  # fmt: skip
    assert list(work.iterdir()) == []


@pytest.mark.parametrize("mode", ["", " "])
def test_variables_of_wandb_that_are_set_to_nothing_are_as_if_not_set(servers, capsys, monkeypatch, mode):
    servers()
    for name in ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_GROUP", "WANDB_DIR", "WANDB_SILENT"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("WANDB_MODE", mode)
    code, (out, err) = create(
        capsys, "project: study\nbase_config: {lr: 1}\nsweep_configuration: {lr: {sweep: true, values: [1]}}"
    )
    assert code == 0 and out and "/study/sweeps/" in err and "validation error" not in err


def test_a_mode_that_wandb_does_not_have_is_named(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "fast")
    text = "base_config: {lr: 1}\nsweep_configuration: {lr: {sweep: true, values: [1]}}"
    code, (_, err) = create(capsys, text)
    assert code == 2 and "WANDB_MODE: no mode 'fast'; there are online, run, shared, offline" in err


@pytest.mark.parametrize(
    ("name", "value"),
    [("INIT_TIMEOUT", "abc"), ("BASE_URL", "nonsense"), ("TAGS", ",,"), ("PROJECT", "team/study")],
)
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_variables_that_wandb_would_refuse_are_named_before_anything_is_made(
    servers, capsys, monkeypatch, mode, name, value
):
    servers()
    monkeypatch.setenv(f"WANDB_{name}", value)
    Path("config.yaml").write_text(
        "project: study\nbase_config: {lr: 1}\nsweep_configuration: {lr: {sweep: true, values: [1]}}"
    )
    Path("function.py").write_text("def main(config, checkpoint_dir): pass")
    words = ["-c", "config.yaml", "--package", "function", "--function", "main", "--mode", mode]
    code, out = cli.run_resume(words), capsys.readouterr()
    assert code == 2 and not Path("dysweep_logs").exists()
    [line] = out.err.splitlines()
    assert line.startswith(f"dysweep_run_resume: WANDB_{name}: W&B does not accept {value!r} (")
    assert "validation error" not in line


@pytest.mark.parametrize("project", ["team/study", "a#b", "x" * 129])
def test_a_project_that_wandb_would_refuse_is_named_before_anything_is_made(capsys, project):
    sweep = "base_config: {lr: 1}\nsweep_configuration: {lr: {sweep: true, values: [1]}}"
    code, (_, err) = create(capsys, f"project: {project}\n{sweep}")
    assert code == 2 and err.startswith("dysweep_create: project: ") and "W&B allows" in err
    assert not Path("dysweep_logs").exists()


def test_a_project_that_wandb_would_refuse_is_named_before_a_sync_keeps_it(capsys):
    sweep = "base_config: {lr: 1}\nsweep_configuration: {lr: {sweep: true, values: [1]}}"
    sweep_id = create(capsys, sweep)[1].out.strip()
    dysweep_run_resume(sweep_id=sweep_id, function=lambda config, checkpoint_dir: None)
    assert cli.sync(["--sweep_id", sweep_id, "--project", "team/study"]) == 2
    assert "dysweep_sync: project: 'team/study' has /; W&B allows none of" in capsys.readouterr().err
    assert not list(Path("dysweep_logs").glob("*/sync.json"))


def test_what_omegaconf_resolves_before_the_sweep_is_named_where_it_matters(caplog):
    base = {"steps": 20, "warmup": "${steps}", "opt": {"lr": 0.1, "end": "${.lr}"}, "size": 1, "n": "${size}"}
    space = {"steps": {"sweep": True, "values": [20, 40]}, "opt": {"lr": {"sweep": True, "values": [1, 2]}}}
    dysweep_run_resume(base_config=OmegaConf.create(base), sweep_configuration=space)
    assert [record.getMessage() for record in caplog.records] == [
        "base_config.warmup: ${steps} is resolved before anything is swept, so every run gets the value of "
        "base_config; give OmegaConf.to_container(config, resolve=False), and resolve in the function (and 1 "
        "more like this)"
    ]
    caplog.clear()
    dysweep_run_resume(
        base_config={"all": OmegaConf.create(base)}, sweep_configuration={"size": space["steps"]}
    )
    assert [record.getMessage().split(" is ")[0] for record in caplog.records] == [
        "base_config.all.n: ${size}",
        "size:",
    ]


def test_what_is_missing_in_omegaconf_has_to_be_swept(caplog):
    base = OmegaConf.create({"lr": "???", "data": "???"})
    dysweep_run_resume(base_config=base, sweep_configuration={"lr": {"sweep": True, "values": [1]}})
    [record] = caplog.records
    assert record.getMessage() == "base_config.data: '???', which OmegaConf means as missing, is a text here"


def test_a_large_space_is_created(capsys):
    """A check that grows with the square of the values, or with the grid, would not end here."""
    labels = [f"v{number}" for number in range(4_000)]
    values = [{"class_path": f"C{number}"} for number in range(4_000)]
    sweep = {"opt": {"sweep": True, "sweep_alias": labels, "values": values}}
    sweep |= {f"p{number}": {"sweep": True, "min": 0, "max": 99} for number in range(10)}
    base = {"opt": {"class_path": "A", "init_args": {"lr": 1}}}
    code, (_, err) = create(capsys, dump_yaml({"base_config": base, "sweep_configuration": sweep}))
    assert code == 0 and "and 3990 more like this" in err and "grid" not in err
