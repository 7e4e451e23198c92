"""README and pages: links resolve, and commands, code, outputs and tables are what the program does."""

import re
import shlex
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import documentation
import pytest
import yaml

import dysweep
from dysweep import cli, upsert
from dysweep.arguments import parse
from dysweep.settings import read_settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

PAGES = sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("tutorials/docs/*.md"))
REPOSITORY = re.compile(
    r"https://(?:github|raw\.githubusercontent)\.com/HamidrezaKmK/dysweep/(?:(?:blob|tree)/)?main/"
)


def page(name):
    return (ROOT / f"tutorials/docs/{name}.md").read_text(encoding="utf-8")


def blocks(language, text=README):
    return re.findall(rf"^```{language}(?: title=\"[^\"]+\")?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


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
    (tmp_path / "config.yaml").write_text(blocks("yaml", page("index"))[0])


def anchors(text):
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", ".github/CONTRIBUTING.md", ".github/CHANGELOG.md", *PAGES]
)
def test_links_resolve(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        target, _, anchor = link.partition("#")
        inside = REPOSITORY.sub("", target)
        if "://" in inside:
            continue
        base = ROOT if inside != target else (ROOT / document).parent
        linked = base / inside if inside else ROOT / document
        assert linked.exists(), link
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), link


def test_what_a_package_index_shows_needs_no_file_beside_it():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links and [link for link in links if not link.startswith("https://")] == []


@pytest.mark.processes
@pytest.mark.parametrize("document", ["README.md", *PAGES])
def test_what_is_executed_and_generated_is_current(document):
    """`python -m tests.documentation --write` refreshes it."""
    text = (ROOT / document).read_text(encoding="utf-8")
    if documentation.refreshable(text):
        assert documentation.refreshed(text) == text


def test_every_page_is_in_the_navigation_of_the_site():
    listed = re.findall(r": (\w+\.md)$", (ROOT / "tutorials/mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted([Path(name).name for name in PAGES] + ["changelog.md", "contributing.md"])


def test_the_examples_of_the_language_are_true():
    for example in yaml.safe_load(blocks("yaml", page("language"))[-1]):
        assert upsert(example["base"], example["patch"], allow_eval=True) == example["gives"]


def test_the_test_command_is_the_one_that_the_checks_run():
    assert (
        'pip install -r requirements-testing.txt && pytest -m "not every_call and not slurm" -n 8'
        in "".join(blocks("bash")).splitlines()
    )


def test_the_job_of_kubernetes_starts_an_agent(monkeypatch):
    text = page("kubernetes")
    [job] = map(yaml.safe_load, blocks("yaml", text))
    if find_spec("kubernetes_validate") is not None:
        import kubernetes_validate

        kubernetes_validate.validate(job, "1.33", strict=True)
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    script, *arguments = container["command"]
    assert script == "dysweep_run_resume"
    settings = read_settings(None, parse("dysweep_run_resume", arguments)[2])
    assert settings.recover and pod["terminationGracePeriodSeconds"] > settings.grace
    [line] = [line for line in "".join(blocks("bash", text)).splitlines() if line.startswith("dysweep_")]
    assert read_settings(None, parse("dysweep_run_resume", shlex.split(line)[1:])[2]).from_wandb


@pytest.mark.parametrize("document", ["README.md", *PAGES])
def test_what_is_launched_would_start(document, module, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    Path("train.py").write_text("def main(config, checkpoint_dir):\n    return 1\n")
    words = shlex.split(
        "\n".join(blocks("bash", (ROOT / document).read_text(encoding="utf-8"))), comments=True
    )
    starts = [place for place, word in enumerate(words) if word.startswith("dysweep_") or word == "pip"]
    lines = [words[start:end] for start, end in pairwise([*starts, len(words)])]
    launched = [line[1:] for line in lines if line[0] == "dysweep_launch" and "--stop" not in line]
    for line in launched:
        shown = ["--dry_run"] if "local" in line else ["--cluster", "slurm", "--print_sbatch"]
        assert cli.launch([*line, *shown]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", ["commands", "functions", "status"])
def test_the_commands_work_one_after_the_other(name, module, capsys):
    Path("train.py").touch()
    assert cli.create(["-c", "config.yaml"]) == 0
    names = {"ID": capsys.readouterr().out.strip()}
    assert cli.run_resume(["--package", "my.module", "--function", "main", "--sweep_id", names["ID"]]) == 0
    for command, *arguments in commands(page(name)):
        if command == "dysweep_create" and "--extend" not in arguments and "--dry_run" not in arguments:
            capsys.readouterr()
        names["RUN"] = f"{names['ID']}-0001"
        arguments = [names.get(word, word) for word in arguments]
        arguments = [str(ROOT / word) if word.startswith("tutorials/") else word for word in arguments]
        code = COMMANDS[command](arguments)
        if command == "dysweep_create" and "--extend" not in arguments and "--dry_run" not in arguments:
            names["ID"] = capsys.readouterr().out.strip()
        refused = "--rerun_id" in arguments and "--resume" in arguments  # the run has finished already
        assert code == (2 if refused else 0), arguments


def test_extending_works_as_the_page_of_spaces_says(capsys, monkeypatch, tmp_path):
    extending, *extended = next(line for line in commands(page("spaces")) if "--extend" in line)
    monkeypatch.chdir(ROOT)
    assert cli.create(["-c", "tutorials/conditional.yaml", "--default_root_dir", str(tmp_path)]) == 0
    names = {"ID": capsys.readouterr().out.strip(), "config.yaml": "tutorials/conditional.yaml"}
    changed = [names.get(word, word) for word in extended]
    assert COMMANDS[extending]([*changed, "--default_root_dir", str(tmp_path)]) == 0
    assert "0 points added, 6 were there" in capsys.readouterr().err


def test_the_table_of_the_readme_is_that_of_the_page():
    table = [line for line in README.splitlines() if line.startswith("| ") and " ± " in line]
    assert len(table) == 3 and "\n".join(table) in page("results")


def test_results_in_python_are_as_the_page_says(capsys, monkeypatch):
    study, in_python = blocks("python", page("results"))
    Path("study.py").write_text(study)
    Path("config.yaml").write_text(blocks("yaml", page("results"))[0])
    assert cli.create(["-c", "config.yaml"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    assert cli.run_resume(["--package", "study", "--function", "main", "--sweep_id", sweep_id]) == 1
    exec(compile(in_python, "results.md", "exec"), {"dysweep": dysweep, "ID": sweep_id})


def test_the_commands_with_wandb_work_one_after_the_other(module, server, capsys, monkeypatch):
    *online, (command, *sync) = commands(page("wandb"))
    names = {}
    for script, *arguments in online:
        assert COMMANDS[script]([names.get(word, word) for word in arguments]) == 0
        if script == "dysweep_create":
            names = {"ID": capsys.readouterr().out.strip()}
            names["team/study/ID"] = f"team/study/{names['ID']}"
        else:
            names["RUN"] = server.backend.runs_of(names["ID"])[0].name
    assert {run.state for run in server.backend.runs_of(names["ID"])} == {"finished"}
    assert len(server.backend.runs_of(names["ID"])) == 4

    monkeypatch.setenv("WANDB_MODE", "offline")
    capsys.readouterr()
    assert cli.create(["-c", "config.yaml"]) == 0
    names["ID"] = capsys.readouterr().out.strip()
    work = ["--package", "my.module", "--function", "main", "--sweep_id", names["ID"]]
    assert cli.run_resume([*work, "--count", "2"]) == 0
    capsys.readouterr()
    assert command == "dysweep_sync" and cli.sync([names.get(word, word) for word in sync]) == 0
    address = capsys.readouterr().out.strip()
    assert address.startswith(f"{server.url}/researcher/study/sweeps/")
    assert len(server.backend.runs_of(address.rpartition("/")[2])) == 2


@pytest.mark.parametrize("name", ["functions", "python"])
def test_the_python_code_runs(name):
    codes = blocks("python", page(name))
    assert codes
    for code in codes:
        exec(compile(code, name, "exec"), {})


def test_the_quickstart_output_is_of_the_quickstart():
    [command] = [line for line in "".join(blocks("bash")).splitlines() if line.startswith("WANDB_MODE")]
    words = shlex.split(command)[2:]
    assert (ROOT / words[words.index("-c") + 1]).exists()
    *_, done, best, see = blocks("text")[0].splitlines()
    assert re.fullmatch(r"48 runs finished; results in dysweep_logs/checkpoints-\w{8}", done)
    assert re.match(
        r"  best so far  accuracy 0\.9811  \w{8}-0027  model=softmax, seed=0, dataset=wine, ", best
    )
    assert re.fullmatch(r"  to compare   dysweep_results --sweep_id \w{8}", see)
