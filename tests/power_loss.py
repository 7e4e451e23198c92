"""Take away, at any moment of an agent's work, what is not safe on the disk yet; see that nothing is lost.

    python tests/power_loss.py              some minutes

The calls of one agent are recorded. A power failure after any of them keeps what fsync was called for: a
file's content by an fsync of the file, a name by one of its folder. Of all else any part may be missing.
Afterwards no run is reported finished that is not, none that was reported is executed again, and an agent
with `--recover` finishes the others. Needs a C compiler.
"""

import argparse
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import crash_points


@dataclass(eq=False)
class File:
    """A file; `safe` is the content that an fsync has made durable."""

    content: bytes = b""
    safe: bytes | None = None


@dataclass(eq=False)
class Folder:
    """A folder; `pending` are the changes of names since the last fsync, each a mapping of names."""

    names: dict = field(default_factory=dict)
    safe: dict = field(default_factory=dict)
    pending: list = field(default_factory=list)

    def change(self, names):
        self.pending.append(names)
        self.names = apply(self.names, names)


def apply(names, change):
    """Change names; None removes one."""
    return {name: what for name, what in {**names, **change}.items() if what is not None}


class Disk:
    """What the recorded calls have made below a root."""

    def __init__(self, root, folder=None):
        self.root = root
        self.top = folder or Folder()

    def at(self, path):
        node = self.top
        for part in Path(path).relative_to(self.root).parts:
            node = node.names[part]
        return node

    def do(self, call, path, other):
        target = Path(path if call in ("open", "truncate", "write", "fsync") else other)
        if target == self.root and call == "mkdir":
            return
        if call == "fsync":
            node = self.at(target)
            if isinstance(node, File):
                node.safe = node.content
            else:
                node.safe, node.pending = dict(node.names), []
            return
        parent, name = self.at(target.parent), target.name
        if call == "write":
            parent.names[name].content += bytes.fromhex(other)
        elif call in ("open", "truncate"):
            if name not in parent.names:
                parent.change({name: File()})
            elif call == "truncate":
                parent.names[name].content = b""
        elif call == "mkdir":
            parent.change({name: Folder()})
        elif call == "rename":
            source = Path(path)
            assert source.parent == target.parent, "a rename between folders"
            parent.change({source.name: None, name: parent.names[source.name]})
        elif call in ("link", "linkat"):
            parent.change({name: self.at(path)})
        elif call in ("unlink", "unlinkat", "rmdir"):
            parent.change({name: None})
        else:
            raise ValueError(call)

    def write_to(self, place, keeps):
        """Write what is left to a real folder; `keeps` decides for each thing that is not safe."""

        def write(node, path):
            if isinstance(node, File):
                left = node.content if node.safe == node.content or keeps() else node.safe or b""
                path.write_bytes(left)
                return
            path.mkdir(exist_ok=True)
            names = node.safe
            for change in node.pending:
                if keeps():
                    # A change of what is not there any more is none.
                    names = apply(names, change)
            for name, child in names.items():
                write(child, path / name)

        write(self.top, place)


def read(folder):
    """Take a folder that is safe on the disk as the beginning."""
    node = Folder()
    for path in folder.iterdir():
        node.names[path.name] = read(path) if path.is_dir() else File(path.read_bytes(), path.read_bytes())
    node.safe = dict(node.names)
    return node


def recorded(workspace):
    """Record the calls of an agent on a new sweep; return them, and the disk as it was before."""
    folder = workspace / "template"
    crash_points.prepare("", folder)
    root = folder / "dysweep_logs"
    before = workspace / "before"
    shutil.copytree(root, before)
    words = crash_points.with_sweep(["run", "--function", "trains"], folder)
    code, calls = crash_points.run(words, folder, (crash_points.RECORD, 0, b""))
    assert code == 0, (folder / "said").read_text()
    return root, before, [line.split("\t") for line in calls.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="cut the power after every n-th call")
    parser.add_argument("--random", type=int, default=2, help="how many random losses to try at each")
    given = parser.parse_args()
    crash_points.preload()
    workspace = Path(tempfile.mkdtemp())
    root, before, calls = recorded(workspace)
    tried, wrong, seen = 0, [], set()
    chance = random.Random(1)
    losses = {"nothing more": lambda: False, "all": lambda: True}
    losses |= {f"random {number}": lambda: chance.random() < 0.5 for number in range(given.random)}
    for moment in range(0, len(calls) + 1, given.every):
        disk, said = Disk(root, read(before)), b""
        for call, path, other in calls[:moment]:
            if call == "say":
                said += bytes.fromhex(other)
            else:
                disk.do(call, path, other)
        for name, keeps in losses.items():
            folder = workspace / "trial"
            shutil.copytree(workspace / "template", folder, ignore=shutil.ignore_patterns("dysweep_logs"))
            disk.write_to(folder / "dysweep_logs", keeps)
            left = frozenset(
                (path.relative_to(folder).as_posix(), path.is_file() and path.read_bytes())
                for path in folder.rglob("*")
            )
            if (left, said.count(b"  finished  ")) in seen:
                shutil.rmtree(folder)
                continue
            seen.add((left, said.count(b"  finished  ")))
            tried += 1
            problem = problem_after(folder, said)
            if problem is None:
                shutil.rmtree(folder)
            else:
                kept = folder.rename(workspace / f"call-{moment}-{name.replace(' ', '-')}")
                wrong.append(f"after call {moment} of {len(calls)}, {name} was kept: {problem}; in {kept}")
    print(f"power lost after {len(calls)} calls: {tried} states tried, {len(wrong)} wrong")
    print("\n".join(wrong))
    if not wrong:
        shutil.rmtree(workspace)
    sys.exit(1 if wrong else 0)


def problem_after(folder, said):
    """Return what is wrong after a power failure; None if nothing is."""
    status = crash_points.status(folder)
    if status is None:
        return "the sweep is gone"
    told = {line.split()[1] for line in said.decode().splitlines() if "  finished  " in line}
    finished = {run["run_id"] for run in status["runs"] if run["state"] == "finished"}
    if told - finished:
        return f"{told - finished} was reported finished, and is not any more"
    ended = {path.parent.parent.name for path in folder.glob("dysweep_logs/*/runs/*/attempts/*.end.json")}
    if finished - ended:
        return f"{finished - ended} has no end"
    return crash_points.problem_after(["run"], folder, 0)


if __name__ == "__main__":
    main()
