"""The tutorials: every file of settings is run, and the notebook from its start to its end."""

import shutil
from pathlib import Path

import pytest
import yaml

import dysweep
from dysweep import cli

nbformat = pytest.importorskip("nbformat")
NotebookClient = pytest.importorskip("nbclient").NotebookClient
ROOT = Path(__file__).parent.parent
NOTEBOOK = Path("tutorials/image_classification.ipynb")
SWEEPS = {
    "classes": 3,
    "conditional": 6,
    "conf": 24,
    "datasets": 2,
    "exclude": 5,
    "finetuning": 24,
    "groups": 2,
    "linking": 2,
    "lists": 4,
    "patches": 4,
    "places": 4,
    "random": 20,
    "repeats": 6,
    "replace": 3,
    "zip": 3,
}


@pytest.fixture
def checkout(own_folder):
    """Be in a folder that holds the tutorials, as a checkout does."""
    shutil.copytree(ROOT / "tutorials", "tutorials", ignore=shutil.ignore_patterns("__pycache__"))
    return own_folder


def test_all_sweeps_are_tested():
    files = {path.stem for path in (ROOT / "tutorials").glob("*.yaml")}
    assert files == {"base", "bayes", *SWEEPS}


def test_the_sweeps_give_configs_that_their_functions_can_run(checkout, capfd):
    for name, size in SWEEPS.items():
        settings = ["-c", f"tutorials/{name}.yaml", "--allow_eval"]
        assert cli.create([*settings, "--dry_run", "--dry_run_dir", f"configs/{name}"]) == 0
        configs = [path.read_text() for path in Path(f"configs/{name}").iterdir()]
        assert len(configs) == len(set(configs)) == size
        module = "tutorials.finetuning" if name == "finetuning" else "tutorials.training"
        shorter = [] if name == "finetuning" else ["--base_config.epochs", "1"]
        work = ["--package", module, "--function", "main", "--count", "2"]
        assert cli.run_resume([*settings, *work, *shorter]) == 0
        assert "2 runs finished" in capfd.readouterr().err


def test_lists_are_changed_as_their_aliases_say(checkout):
    assert cli.create(["-c", "tutorials/lists.yaml", "--dry_run", "--dry_run_dir", "configs"]) == 0
    configs = [yaml.safe_load(path.read_text()) for path in sorted(Path("configs").iterdir())]
    kinds = [[each["class_path"].rpartition(".")[2] for each in config["transforms"]] for config in configs]
    assert kinds == [["Shift", "Normalize"], ["Shift"], ["Normalize", "Shift"], ["Shift", "Normalize"]]
    assert configs[3]["transforms"][0]["init_args"] == {"pixels": 2}


def test_bayes_chooses_one_run_after_the_other(checkout, capsys):
    settings = ["-c", "tutorials/bayes.yaml", "--base_config.epochs", "1"]
    assert cli.create([*settings, "--dry_run"]) == 0
    assert capsys.readouterr().out.startswith("20 runs, chosen one by one\n")
    work = ["--package", "tutorials.training", "--function", "main", "--count", "12"]
    assert cli.run_resume([*settings, *work]) == 0
    [sweep_id] = [path.name.removeprefix("checkpoints-") for path in Path("dysweep_logs").iterdir()]
    runs = [run.assignment for run in dysweep.open_sweep(sweep_id).runs]
    assert {frozenset(run) for run in runs} == {
        frozenset({"optimizer", "sgd.lr", "sgd.momentum"}), frozenset({"optimizer", "adam.lr"})
    }  # fmt: skip


def test_the_number_of_trained_parameters_is_that_of_the_paper(checkout):
    """Rank 8 on the query and value projections of Llama 2 with 7 billion parameters: 4.2 million."""
    assert (
        cli.run_resume(
            [
                "-c",
                "tutorials/finetuning.yaml",
                "--allow_eval",
                "--count",
                "1",
                "--package",
                "tutorials.finetuning",
            ]
            + ["--function", "main", "--sweep_configuration.parameters.adapter.init_args.r.values", "[8]"]
        )
        == 0
    )
    [folder] = Path("dysweep_logs").iterdir()
    sweep = dysweep.open_sweep(folder.name.removeprefix("checkpoints-"))
    assert sweep.runs[0].metrics == {"trainable_parameters": 4194304}
    assert sweep.config(sweep.runs[0].run_id)["adapter"]["init_args"]["lora_alpha"] == 16


def test_the_notebook_runs_from_start_to_end(checkout, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    roots = [path.parent for path in Path("dysweep_logs").glob("*/sweep.json")]
    counts = [dysweep.open_sweep(root.name.removeprefix("checkpoints-")).counts for root in roots]
    assert sorted(counts, key=str) == [{"finished": 24}, {"finished": 3}]


def test_the_notebook_is_saved_as_it_was_executed():
    cells = [cell for cell in nbformat.read(ROOT / NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert [output for output in outputs if "image/png" in output.get("data", {})]
    text = "".join(output.get("text", "") for output in outputs)
    assert "24/24" in text and "1 crashed" in text and "1 preempted" in text
