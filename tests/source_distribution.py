"""What a source distribution holds besides the package: the tests, and what they read."""

from pathlib import Path

from setuptools.command.sdist import sdist

FOLDERS = (".ci", ".github", "images", "tests", "tutorials")
FILES = ("CONTRIBUTING.md", "requirements-dev.txt", "requirements-testing.txt")
LEFT_OUT = {"__pycache__", "dysweep_logs", "wandb", ".ipynb_checkpoints"}


class Sdist(sdist):
    """`python -m build --sdist`; a MANIFEST.in would be a file more at the top of the repository."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        found = [path for folder in FOLDERS for path in Path(folder).rglob("*") if path.is_file()]
        more = [str(path) for path in found if not LEFT_OUT & set(path.parts)]
        super().make_release_tree(base_dir, sorted({*files, *FILES, *more}))
