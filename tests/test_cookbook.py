"""The cookbook: each recipe's files are written, its commands are run, and its outputs appear."""

import os
import re
import shlex
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from helpers import SCRIPTS, Process

from dysweep import cli

PAGE = (Path(__file__).parent.parent / "tutorials/docs/cookbook.md").read_text(encoding="utf-8")
INTRODUCTION, *RECIPES = re.split(r"^## ", PAGE, flags=re.MULTILINE)
BLOCK = re.compile(r'^```(\w+)(?: title="([^"\n]+)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)
COMMANDS = {
    "create": cli.create, "launch": cli.launch, "results": cli.results, "run": cli.run_resume,
    "status": cli.status,
}  # fmt: skip
FEWER = {"max: 1000": "max: 20", "1000/1000  1000 finished": "20/20  20 finished"}  # 1,000 runs take minutes
TORCH = ("A Lightning module", "LightningCLI", "Hugging Face's Trainer")

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # Lightning, torch, transformers and wandb warn of each other


# Lightning imports it wherever it is installed, so the other tests' environment has it not.
HAS_TRANSFORMERS = find_spec("transformers") is not None


def needs_transformers(recipe):
    return "from transformers import" in recipe


def title(recipe):
    return recipe.partition("\n")[0]


def write_files(text):
    for _, name, content in BLOCK.findall(text):
        if name:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(content, encoding="utf-8")


def current_sweep():
    paths = sorted(Path("dysweep_logs").glob("*/sweep.json"), key=lambda path: path.stat().st_mtime_ns)
    return paths[-1].parent.name.removeprefix("checkpoints-") if paths else ""


def commands(block):
    """Split a block into its commands of dysweep; none if others are among them."""
    words = shlex.split(block)
    starts = [place for place, word in enumerate(words) if word == "dysweep"]
    if {"&", "cat", "ls", "python"} & set(words):
        return []
    return [words[start + 1 : end] for start, end in pairwise([*starts, len(words)])]


def execute(block, is_refused):
    """Run a block: commands of dysweep in this process, where they import W&B and torch once."""
    for command, *arguments in commands(block):
        words = [re.sub(r"\bID\b", current_sweep(), word) for word in arguments]
        code = COMMANDS[command](words, f"dysweep {command}")
        assert code == (2 if is_refused else 0), (command, arguments)
    if not commands(block):
        process = Process(["bash", "-c", re.sub(r"\bID\b", current_sweep(), block)])
        assert process.wait() == 0 or "kill" in block


def without_what_differs(line):
    line = re.sub(r"\b[0-9a-f]{8}(?=\b|-\d{4})", "ID", line)
    line = re.sub(r"\S*/python[\d.]*", "python3", line)
    line = re.sub(r"  \(([\d.]+ \w+ )+left\)$|  [\d.]+ s ago  on \S+$", "", line.rstrip())
    return re.sub(r" +([\d.]+ (s|min) ?)+ ", " SECONDS ", line)


def assert_shown(expected, *outputs):
    """Check that a page's lines appear, beside others, in their order in each output."""
    shown = [[without_what_differs(each) for each in re.split("[\r\n]", output)] for output in outputs]
    for line in expected.splitlines():
        wanted, is_begin, _ = without_what_differs(line).partition("...")
        for lines in shown:
            places = [
                place for place, each in enumerate(lines)
                if each == wanted or (is_begin and each.startswith(wanted))
            ]  # fmt: skip
            if places:
                del lines[: places[0] + 1]
                break
        else:
            raise AssertionError(f"{wanted!r} is missing (in its place) in\n" + "\n".join(outputs))


def marked(recipe):
    marks = [pytest.mark.torch] * (title(recipe) in TORCH)
    return pytest.param(
        recipe, id=title(recipe), marks=marks + [pytest.mark.transformers] * needs_transformers(recipe)
    )


@pytest.mark.parametrize(
    "recipe", [marked(each) for each in RECIPES if HAS_TRANSFORMERS or not needs_transformers(each)]
)
def test_a_recipe_gives_what_it_shows(recipe, capfd, monkeypatch):
    monkeypatch.setenv("PATH", f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for before, after in FEWER.items():
        recipe = recipe.replace(before, after)
    write_files(INTRODUCTION)
    write_files(recipe)
    blocks = [(language, content) for language, name, content in BLOCK.findall(recipe) if not name]
    checked = 0
    for place, (language, content) in enumerate(blocks):
        if language == "bash":
            following = blocks[place + 1] if place + 1 < len(blocks) else ("", "")
            execute(content, following[1].startswith("dysweep create: "))
        else:
            out, err = capfd.readouterr()
            assert_shown(content, out, err)
            checked += 1
    assert checked, "a recipe shows what it gives"


def test_every_file_of_a_recipe_is_named_once():
    for recipe in RECIPES:
        names = [name for _, name, _ in BLOCK.findall(recipe) if name]
        assert len(names) == len(set(names)), title(recipe)
