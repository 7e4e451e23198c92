"""Refresh what the documentation shows of the program: `python -m tests.documentation --write`.

Between `<!-- generated: NAME -->` and `<!-- end -->` is what a function of this module returns. What follows
`<!-- session -->`, until `<!-- end of session -->` or the page's end, is executed in a new folder, offline:

- a block with a title is a file; if a command has written that file, the block shows it;
- a block of bash is executed, without the lines that install or launch; `ID` in it is the newest sweep;
- a block of text behind it, or what is between `<!-- output -->` and `<!-- end -->`, is what it has printed;
  behind a configuration it is its dry run. With a line `...` it keeps as many lines as it has, at both ends.

Without `--write` it names the pages that have to be refreshed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

from dysweep import ResumableSweepConfig
from dysweep.arguments import ABOUT, COMMANDS, taken_by
from dysweep.settings import settings_of

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("tutorials/docs/*.md"))]
KEPT = ("PATH", "HOME", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "SSL_CERT_FILE")
ELSEWHERE = ("pip ", "dysweep_launch ", "wandb ", "pytest ")  # tested, if at all, by test_documentation
SHOWN_ID = "3f9c2a17"
BLOCK = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)(?P<close>^```)$'
    r"|^<!-- output -->\n(?P<output>.*?)^<!-- end -->$",
    re.DOTALL | re.MULTILINE,
)


def defaults(kind: type) -> dict[str, str]:
    """Return the default of each setting as it is written in a file."""
    shown = {}
    for each in fields(kind):  # type: ignore[arg-type]
        value = each.default
        text = str(value).lower() if isinstance(value, bool) else str(value)
        shown[each.name] = "" if value is None else f"`{text.removesuffix('.0')}`"
    return shown


def table_of(kind: type, names: list[str]) -> list[str]:
    """Write a table of settings or options with their defaults and help."""
    known = settings_of(kind)
    rows = [f"| `{name}` | {defaults(kind)[name]} | {known[name][1].help} |" for name in names]
    return [row.replace("|  |", "| |") for row in rows]


def settings() -> str:
    """Write the table of all settings of a sweep and its agents."""
    rows = table_of(ResumableSweepConfig, [each.name for each in fields(ResumableSweepConfig)])
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def commands() -> str:
    """Write, for each command, what it does, its own options, and the settings that it takes."""
    lines = []
    for word, command in COMMANDS.items():
        taken = taken_by(command)
        lines += [f"### dysweep {word}", "", f"`{command}`. {ABOUT[command]}", ""]
        rows = []
        for kind in dict.fromkeys(taken.values()):
            if kind is not ResumableSweepConfig:
                rows += table_of(kind, [name for name, owner in taken.items() if owner is kind])
        if rows:
            lines += ["| option | default | meaning |", "|---|---|---|", *rows, ""]
        taken_settings = [f"`{name}`" for name, kind in taken.items() if kind is ResumableSweepConfig]
        lines += [f"Settings: {', '.join(taken_settings)}.", ""]
    return "\n".join(lines).rstrip()


GENERATED = {"settings": settings, "commands": commands}


class Session:
    """A folder in which the commands of a page are executed one after the other."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: set[str] = set()
        (folder / "tutorials").symlink_to(ROOT / "tutorials")
        scripts = str(Path(sys.executable).parent)
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        own = {"WANDB_MODE": "offline", "PYTHONUNBUFFERED": "1", "WANDB_ERROR_REPORTING": "false"}
        self.environment = kept | own | {"PATH": f"{scripts}:{os.environ['PATH']}"}

    def newest(self) -> str | None:
        """Return the id of the sweep that was created last."""
        created = list(self.folder.glob("dysweep_logs/checkpoints-*/sweep.json"))
        last = max(created, key=lambda path: path.stat().st_mtime_ns, default=None)
        return None if last is None else last.parent.name.removeprefix("checkpoints-")

    def execute(self, script: str) -> str:
        """Execute lines of bash, and return what they have printed."""
        lines = [line for line in script.replace("\\\n", " ").splitlines() if not line.startswith(ELSEWHERE)]
        text = "\n".join(lines)
        if newest := self.newest():
            text = re.sub(r"\bID\b", newest, text)
        command = ["bash", "-c", f"set -o pipefail\n{text}"]
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=300,
        )
        if done.returncode not in (0, 1) or "dysweep/cli.py" in done.stdout:
            raise RuntimeError(f"{text}\nexit code {done.returncode}\n{done.stdout}")
        shown = [line.rstrip() for line in done.stdout.splitlines() if not line.startswith("wandb: ")]
        return self.named("\n".join(shown))

    def named(self, text: str) -> str:
        """Put the id that pages show in the place of the newest sweep's."""
        newest = self.newest()
        text = text.replace(f"{self.folder.resolve()}/", "")
        return text.replace(newest, SHOWN_ID) if newest else text

    def block(self, match: re.Match[str], printed: str | None) -> tuple[str, str | None]:
        """Return a block as it has to be, and what is printed by it."""
        language, title, body = match["language"], match["title"], match["body"]
        if match["output"] is not None:
            return refresh(match[0], match["output"], f"{printed}\n"), None
        if title:
            path = self.folder / title
            if path.exists() and title not in self.files:
                return refresh(match[0], body, self.named(path.read_text())), None
            self.files.add(title)
            path.write_text(body)
            return match[0], f"dysweep_create -c {title} --dry_run" if language == "yaml" else None
        if language == "bash":
            printed = self.execute(body)
            return match[0], printed
        if language == "text" and printed is not None:
            if printed.startswith("dysweep_create -c "):
                printed = self.execute(printed)
            return refresh(match[0], body, f"{printed}\n"), None
        return match[0], None


def refresh(block: str, old: str, new: str) -> str:
    """Replace what a block shows, unless only durations and the like have changed."""
    head, gap, tail = f"\n{old}".partition("\n...\n")
    if gap:
        lines = new.splitlines(keepends=True)
        first, last = head.count("\n"), tail.count("\n")
        new = "".join([*lines[:first], "...\n", *lines[len(lines) - last :]])
    if comparable(old) == comparable(new):
        return block
    opening, closing = block[: block.index("\n") + 1], block.rpartition("\n")[2]
    return f"{opening}{new}{closing}"


def comparable(text: str) -> str:
    """Leave out what differs from machine to machine: durations, and digits of releases."""
    text = re.sub(r" *\([0-9.]+ [a-z]+ left\)", "", text)
    text = re.sub(r"\b[0-9.]+ s\b", "N s", text)
    if "importance" in text:
        text = re.sub(r"-?[0-9]+(\.[0-9]+)?", "N", text)
    return re.sub(r" +", " ", text)


def executed(part: str) -> str:
    """Execute a session and return it with what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder))
        pieces, end, printed = [], 0, None
        for match in BLOCK.finditer(part):
            between = part[end : match.start()]
            if between.strip():
                printed = None
            block, printed = session.block(match, printed)
            pieces += [between, block]
            end = match.end()
        return "".join([*pieces, part[end:]])


def refreshed(text: str) -> str:
    """Return a page with everything in it that is generated or executed."""
    for name, write in GENERATED.items():
        opening = f"<!-- generated: {name} -->\n"
        if opening in text:
            before, _, rest = text.partition(opening)
            after = rest.partition("<!-- end -->")[2]
            text = f"{before}{opening}\n{write()}\n\n<!-- end -->{after}"
    parts = re.split(r"(?m)^(?=<!-- (?:session|end of session) -->$)", text)
    return "".join(executed(part) if part.startswith("<!-- session -->") else part for part in parts)


def refreshable(text: str) -> bool:
    """Return whether anything in a page is generated or executed."""
    return re.search("^<!-- (session|generated: .*) -->$", text, re.MULTILINE) is not None


def main() -> int:
    """Refresh all pages, or name those that have to be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="refresh the pages")
    parser.add_argument("pages", nargs="*", type=Path, default=PAGES)
    arguments = parser.parse_args()
    stale = 0
    for page in arguments.pages:
        old = page.read_text(encoding="utf-8")
        new = refreshed(old)
        if new != old:
            stale += 1
            print(f"{page}: {'refreshed' if arguments.write else 'has to be refreshed'}")
            if arguments.write:
                page.write_text(new, encoding="utf-8")
    return 0 if arguments.write else min(stale, 1)


if __name__ == "__main__":
    sys.exit(main())
