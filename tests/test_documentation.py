"""The README: its links resolve, and its commands and code do what it says."""

import dataclasses
import re
import shlex
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import dysweep
from dysweep import ResumableSweepConfig, Space, cli, upsert
from dysweep.arguments import parse
from dysweep.settings import read_settings, settings_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

PAGES = sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("tutorials/docs/*.md"))
WITH_WANDB = README.partition("\n## With W&B\n")[2].partition("\n## ")[0]


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text):
    lines = "".join(blocks("bash", text)).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith("dysweep_")]


COMMANDS = {
    "dysweep_create": cli.create,
    "dysweep_launch": cli.launch,
    "dysweep_results": cli.results,
    "dysweep_run_resume": cli.run_resume,
    "dysweep_status": cli.status,
    "dysweep_sync": cli.sync,
}


@pytest.fixture
def module(tmp_path):
    (tmp_path / "my").mkdir()
    (tmp_path / "my/module.py").write_text("def main(config, checkpoint_dir):\n    return 1\n")
    (tmp_path / "config.yaml").write_text(blocks("yaml")[0])


@pytest.mark.parametrize("document", ["README.md", ".github/CONTRIBUTING.md", ".github/CHANGELOG.md", *PAGES])
def test_links_resolve(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (ROOT / document).parent.joinpath(target).exists()] == []


def test_sections_resolve():
    headings = [line.lstrip("# ") for line in README.splitlines() if re.match("#+ ", line)]
    anchors = {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    linked = re.findall(r"\]\(#([^)]+)\)", README)
    assert linked and set(linked) <= anchors


def test_the_examples_of_the_language_are_true():
    for example in yaml.safe_load(blocks("yaml")[1]):
        assert upsert(example["base"], example["patch"], allow_eval=True) == example["gives"]


def test_all_settings_are_explained_with_their_defaults():
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.+)`)? *\| (.+) \|$", README, re.MULTILINE)
    defaults = {name: default for name, default, _ in rows}
    explained = {name: text for name, _, text in rows}
    described = {field.name: field.default for field in dataclasses.fields(ResumableSweepConfig)}
    assert list(described) == [name for name in defaults if name in described]
    for name, default in described.items():
        assert explained[name] == settings_of(ResumableSweepConfig)[name][1].help
        shown = "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        assert defaults[name] == shown.removesuffix(".0"), name


def test_the_test_command_is_the_one_that_the_checks_run():
    assert (
        'pip install -r requirements-testing.txt && pytest -m "not every_call and not slurm" -n 8'
        in "".join(blocks("bash")).splitlines()
    )


def test_the_job_of_kubernetes_starts_an_agent(monkeypatch):
    page = (ROOT / "tutorials/docs/kubernetes.md").read_text(encoding="utf-8")
    [job] = map(yaml.safe_load, blocks("yaml", page))
    if find_spec("kubernetes_validate") is not None:
        import kubernetes_validate

        kubernetes_validate.validate(job, "1.33", strict=True)
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    script, *arguments = container["command"]
    assert script == "dysweep_run_resume"
    settings = read_settings(None, parse("dysweep_run_resume", arguments)[2])
    assert settings.recover and pod["terminationGracePeriodSeconds"] > settings.grace
    [line] = [line for line in "".join(blocks("bash", page)).splitlines() if line.startswith("dysweep_")]
    assert read_settings(None, parse("dysweep_run_resume", shlex.split(line)[1:])[2]).from_wandb


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_what_is_launched_would_start(page, module, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    Path("train.py").write_text("def main(config, checkpoint_dir):\n    return 1\n")
    words = shlex.split("\n".join(blocks("bash", (ROOT / page).read_text(encoding="utf-8"))), comments=True)
    starts = [place for place, word in enumerate(words) if word.startswith("dysweep_") or word == "pip"]
    lines = [words[start:end] for start, end in pairwise([*starts, len(words)])]
    launched = [line[1:] for line in lines if line[0] == "dysweep_launch" and "--stop" not in line]
    for line in launched:
        shown = ["--dry_run"] if "local" in line else ["--cluster", "slurm", "--print_sbatch"]
        assert cli.launch([*line, *shown]) == 0, capsys.readouterr().err


def test_the_commands_work_one_after_the_other(module, capsys):
    names = {}
    for command, *arguments in commands(README.replace(WITH_WANDB, "")):
        if command == "dysweep_launch":
            continue
        arguments = [names.get(word, word) for word in arguments]
        arguments = [str(ROOT / word) if word.startswith("tutorials/") else word for word in arguments]
        code = COMMANDS[command](arguments)
        out = capsys.readouterr().out
        if "--dry_run" in arguments:
            shown = "\n".join(line.rstrip() for line in out.splitlines())
            assert f"{shown}\n" in blocks("text")
        elif command == "dysweep_create":
            names = {"ID": out.strip(), "RUN": f"{out.strip()}-0001"}
        refused = "--rerun_id" in arguments and "--resume" in arguments  # the run has finished already
        assert code == (2 if refused else 0), arguments


def test_the_page_of_spaces_shows_what_a_dry_run_shows(capsys, monkeypatch, tmp_path):
    page = (ROOT / "tutorials/docs/spaces.md").read_text(encoding="utf-8")
    monkeypatch.chdir(ROOT)
    [command, *arguments], [extending, *extended] = commands(page)
    assert COMMANDS[command](arguments) == 0 and "--dry_run" in arguments
    shown = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert f"{shown}\n" in blocks("text", page)
    created = [word for word in arguments if word not in ("--dry_run", "--limit", "1")]
    assert COMMANDS[command]([*created, "--default_root_dir", str(tmp_path)]) == 0
    names = {"ID": capsys.readouterr().out.strip(), "config.yaml": "tutorials/conditional.yaml"}
    changed = [names.get(word, word) for word in extended]
    assert COMMANDS[extending]([*changed, "--default_root_dir", str(tmp_path)]) == 0
    assert "0 points added, 6 were there" in capsys.readouterr().err


def test_the_page_of_results_shows_what_its_study_gives(capsys, monkeypatch):
    page = (ROOT / "tutorials/docs/results.md").read_text(encoding="utf-8")
    study, in_python = blocks("python", page)
    Path("study.py").write_text(study)
    Path("config.yaml").write_text(blocks("yaml", page)[0])
    assert cli.create(["-c", "config.yaml"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    assert cli.run_resume(["--package", "study", "--function", "main", "--sweep_id", sweep_id]) == 1
    names = {"ID": sweep_id, "RUN_A": f"{sweep_id}-0001", "RUN_B": f"{sweep_id}-0012"}
    for command, *arguments in commands(page):
        capsys.readouterr()
        assert COMMANDS[command]([names.get(word, word) for word in arguments]) == 0
        shown = capsys.readouterr().out.replace(sweep_id, "3f9c2a17")
        if "--importance" in arguments:  # its digits are of a release of scikit-learn
            shown = shown.partition(" ")[0]
        assert shown in page, arguments
    assert Path("best.yaml").read_text().replace(sweep_id, "3f9c2a17") in page
    table = [line for line in README.splitlines() if line.startswith("| ") and " ± " in line]
    assert len(table) == 3 and "\n".join(table) in page
    exec(compile(in_python, "tutorials/docs/results.md", "exec"), {"dysweep": dysweep, "ID": sweep_id})


def test_the_commands_with_wandb_work_one_after_the_other(module, server, capsys, monkeypatch):
    *online, (command, *sync) = commands(WITH_WANDB)
    names = {}
    for script, *arguments in online:
        assert COMMANDS[script]([names.get(word, word) for word in arguments]) == 0
        if script == "dysweep_create":
            names = {"ID": capsys.readouterr().out.strip()}
            names["team/study/ID"] = f"team/study/{names['ID']}"
        else:
            names["RUN"] = server.backend.runs_of(names["ID"])[0].name
    assert {run.state for run in server.backend.runs_of(names["ID"])} == {"finished"}
    assert len(server.backend.runs_of(names["ID"])) == 8

    monkeypatch.setenv("WANDB_MODE", "offline")
    capsys.readouterr()
    assert cli.create(["-c", "config.yaml"]) == 0
    names["ID"] = capsys.readouterr().out.strip()
    work = ["--package", "my.module", "--function", "main", "--sweep_id", names["ID"]]
    assert cli.run_resume([*work, "--count", "2"]) == 0
    capsys.readouterr()
    assert command == "dysweep_sync" and cli.sync([names.get(word, word) for word in sync]) == 0
    page = capsys.readouterr().out.strip()
    assert page.startswith(f"{server.url}/researcher/study/sweeps/")
    assert len(server.backend.runs_of(page.rpartition("/")[2])) == 2


def test_the_example_of_the_language_gives_eight_configs():
    example = yaml.safe_load(blocks("yaml")[0])
    space = Space.compile(example["sweep_configuration"]["parameters"])
    assert {name: each["values"] for name, each in space.parameters.items()} == {
        "optimizer": ["sgd", "adam"],
        "lr": ["slow", "fast"],
        "normalize": ["yes", "no"],
    }
    config = space.resolve(example["base_config"], {"optimizer": "adam", "lr": "slow", "normalize": "no"})
    assert config["optimizer"]["class_path"] == "torch.optim.Adam"
    assert config["data"]["transforms"] == [{"class_path": "Flip"}]


def test_the_python_code_runs():
    for page in ("README.md", "tutorials/docs/python.md"):
        for code in blocks("python", (ROOT / page).read_text(encoding="utf-8")):
            exec(compile(code, page, "exec"), {})


def test_the_quickstart_output_is_of_the_quickstart():
    [command] = [line for line in "".join(blocks("bash")).splitlines() if line.startswith("WANDB_MODE")]
    words = shlex.split(command)[2:]
    assert (ROOT / words[words.index("-c") + 1]).exists()
    *_, done, best, see = blocks("text")[0].splitlines()
    assert re.fullmatch(r"48 runs finished; results in dysweep_logs/checkpoints-\w{8}", done)
    assert re.match(
        r"  best so far  accuracy 0\.9811  \w{8}-0027  model=softmax, seed=0, dataset=wine, ", best
    )
    assert re.fullmatch(r"  to see all   dysweep_status --sweep_id \w{8} --runs", see)
