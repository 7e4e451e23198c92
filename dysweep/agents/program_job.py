"""What is executed for a claim: a program, started by a command."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dysweep.agents.capture import Relay
from dysweep.agents.processes import exit_error, run_program, signal_to_pass, wait_for_former
from dysweep.agents.signals import StopSignals
from dysweep.agents.sources import Claim
from dysweep.current import environment_of
from dysweep.directory.runs import RunDirectory
from dysweep.directory.sweep import Sweep
from dysweep.errors import ConfigError, DirectoryError, Preempted, ProgramError, closest
from dysweep.files import replace_json, write_in_place, writing
from dysweep.language.space import Space
from dysweep.tracking.programs import ProgramRun
from dysweep.yaml_text import dump_yaml

_TRY_LATER = 75  # EX_TEMPFAIL of sysexits.h
_TEXTS = (
    "config", "config.yaml", "checkpoint_dir", "run_dir", "run_id", "sweep_id", "attempt", "master", "port"
)  # fmt: skip
_LISTS = ("args", "args_no_hyphens", "params")
# https://docs.wandb.ai/guides/sweeps/sweep-config-keys/#command
_OF_WANDB = ("env", "interpreter", "program", "args_json")
_FORMS = {
    "args": "--{}={}", "args_no_hyphens": "{}={}",
    "args_append_hydra": "+{}={}", "args_override_hydra": "++{}={}",
}  # fmt: skip
_LISTS_OF_WANDB = (*_FORMS, "args_no_equals", "args_no_boolean_flags")
_COMMAND_OF_WANDB = ("${env}", "${interpreter}", "${program}", "${args}")
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\$\{(?P<wandb>[^{}]*)\}|\{(?P<ours>[^{}]*)\}|[{}]")


@dataclass(frozen=True)
class ProgramJob:
    """Starts a program for every run.

    Args:
        words: the program and its arguments, with placeholders.
        program: what W&B's `${program}` stands for.
        grace: seconds that the program has after a signal before it is killed.
        with_tree: put the tree's keys into the config of the W&B run, too.
    """

    words: tuple[str, ...]
    program: str | None = None
    grace: float = 20.0
    with_tree: bool = False

    # After the grace: what was left behind ends, W&B is told.
    seconds_to_end = 40.0

    @classmethod
    def of(
        cls, command: str | Sequence[str] | None, program: str | None, grace: float, with_tree: bool
    ) -> ProgramJob:
        """Read a command: a text that is split into words once, without a shell, or a list of words.

        Raises:
            ConfigError: it cannot be split, or is empty.
        """
        if isinstance(command, str):
            try:
                words = shlex.split(command)
            except ValueError as error:
                raise ConfigError(f"command: {command!r} cannot be split into words ({error})") from None
        else:
            words = list(_COMMAND_OF_WANDB if command is None else command)
        if not words:
            raise ConfigError("command: is empty; write it as python train.py --config {config}")
        return cls(tuple(map(str, words)), program, grace, with_tree)

    def check(self) -> None:
        """Check the placeholders, and that the program is there.

        Raises:
            ConfigError: something is unknown, missing or not executable.
        """
        for word in self.words:
            for match in _PLACEHOLDER.finditer(word):
                self._check_placeholder(word, match)
        if any(match["ours"] for match in _PLACEHOLDER.finditer(self.words[0])):
            return  # the program is known only with the run
        name = next(self._expanded(_Values({}, {}, {}, {})), "")
        if not shutil.which(name):
            kind = "is not executable" if os.path.exists(name) else "is not found"
            hint = f"; did you mean {shlex.join(['python', *self.words])}?" if name.endswith(".py") else ""
            raise ConfigError(f"command: {name} {kind}{hint}")

    def _check_placeholder(self, word: str, match: re.Match[str]) -> None:
        whole, ours, wandbs = match.group(), match["ours"], match["wandb"]
        if whole in ("{", "}"):
            raise ConfigError(
                f"command: {word!r}: a {whole} without its other half; write {whole * 2} for a {whole}"
            )
        if ours is not None and ours not in (*_TEXTS, *_LISTS):
            known = closest(ours, (*_TEXTS, *_LISTS))
            raise ConfigError(f"command: {word!r}: unknown placeholder {whole}{known} ({{{{ for a {{)")
        if wandbs is not None and wandbs not in (*_OF_WANDB, *_LISTS_OF_WANDB):
            if not wandbs.startswith("envvar:"):
                known = closest(wandbs, (*_OF_WANDB, *_LISTS_OF_WANDB, "envvar:NAME"))
                if wandbs == "args_json_file":
                    known = "; {config} is the path of a JSON file with the config"
                raise ConfigError(f"command: {word!r}: unknown placeholder {whole}{known}")
            if wandbs.removeprefix("envvar:") not in os.environ:
                raise ConfigError(
                    f"command: {word!r}: the environment has no {wandbs.removeprefix('envvar:')}"
                )
        if wandbs == "program" and self.program is None:
            raise ConfigError("command: ${program}: missing; add `program: FILE` to sweep_configuration")
        if (ours in _LISTS or wandbs in _LISTS_OF_WANDB) and whole != word:
            raise ConfigError(
                f"command: {word!r}: {whole} becomes several words; write it with blanks around it"
            )

    def track(self, claim: Claim, when_stopped: Callable[[], object] = lambda: None) -> ProgramRun:
        """Prepare the W&B run that the program joins."""
        return claim.track(ProgramRun, with_tree=self.with_tree)

    def execute(self, claim: Claim, run: ProgramRun, stop: StopSignals) -> None:
        """Start the program, and wait for its end.

        Args:
            claim: the run to execute.
            run: its W&B run, which `wandb.init` in the program joins.
            stop: the signals that it gets passed on.

        Raises:
            ProgramError: it has failed, or has crashed.
            Preempted: it was told to stop.
        """
        wait_for_former(claim.attempt, self.grace, stop)
        directory = claim.attempt.run
        config = claim.config or {}
        _keep_config(directory, config)
        texts = _texts(directory.path, directory.checkpoint_path, claim.sweep.sweep_id, claim.attempt.number)
        words = self._words(texts, config, claim.sweep.compiled, claim.assignment)
        number = claim.attempt.number
        environment = {
            **run.environment(),
            "PYTHONUNBUFFERED": os.environ.get("PYTHONUNBUFFERED", "1"),
            **environment_of(directory.path, directory.checkpoint_path, claim.sweep.sweep_id, number),
        }
        relay = Relay()
        try:
            code = run_program(words, environment, self.grace, lambda: signal_to_pass(stop), relay.write)
        except OSError as error:
            raise ProgramError(f"{words[0]}: cannot be started ({error.strerror})", ()) from None
        finally:
            relay.end()
        if code == 0 and not stop.stopping:
            return
        if stop.stopping or code == _TRY_LATER:
            raise Preempted(stop.received or signal.SIGTERM)
        raise exit_error(code, relay.last_lines)

    def debug(
        self,
        run_dir: Path,
        checkpoint_dir: Path,
        config: dict[str, Any],
        sweep: Sweep,
        assignment: Mapping[str, Any],
    ) -> int:
        """Run the program on this terminal, in a W&B run that is disabled; return its exit code.

        Args:
            run_dir: where run_config.json is.
            checkpoint_dir: the folder that the program gets.
            config: the config.
            sweep: the sweep, without W&B.
            assignment: what it has chosen.
        """
        texts = _texts(run_dir, checkpoint_dir, sweep.sweep_id, 1)
        words = self._words(texts, config, sweep.compiled, assignment)
        run = ProgramRun(sweep, RunDirectory(run_dir), assignment, None, config, with_tree=self.with_tree)
        told = environment_of(run_dir, checkpoint_dir, sweep.sweep_id, 1)
        code = subprocess.run(words, env={**run.environment(), **told}, check=False).returncode
        return code if code >= 0 else 128 - code

    def _words(
        self,
        texts: Mapping[str, str],
        config: Mapping[str, Any],
        space: Space,
        assignment: Mapping[str, Any],
    ) -> list[str]:
        """Return the words for one run; write the YAML file if one of them names it."""
        if any("{config.yaml}" in word for word in self.words):
            with writing(Path(texts["config.yaml"])):
                write_in_place(Path(texts["config.yaml"]), dump_yaml(config))
        words = list(self._expanded(_Values(texts, config, _swept(space, assignment), assignment)))
        if unfit := [word for word in words if "\0" in word]:
            raise ProgramError(f"{unfit[0]!r}: a program's argument cannot hold NUL; use {{config}}", ())
        return words

    def _expanded(self, values: _Values) -> Iterator[str]:
        """Fill in the placeholders."""
        for word in self.words:
            match = _PLACEHOLDER.fullmatch(word)
            if match and (match["ours"] in _LISTS or match["wandb"] in _LISTS_OF_WANDB):
                yield from values.words(match["ours"], match["wandb"])
            else:
                yield _PLACEHOLDER.sub(lambda each: self._text(each, values), word)

    def _text(self, match: re.Match[str], values: _Values) -> str:
        if match["wandb"] is None:
            return {"{{": "{", "}}": "}"}.get(match.group()) or values.texts.get(match["ours"], "")
        of_wandb = {
            "env": "/usr/bin/env",
            "interpreter": "python",
            "program": self.program or "",
            "args_json": json.dumps(values.assignment),
        }
        name = match["wandb"]
        return os.environ[name.removeprefix("envvar:")] if name.startswith("envvar:") else of_wandb[name]


@dataclass(frozen=True)
class _Values:
    """What placeholders stand for, of one run."""

    texts: Mapping[str, str]
    config: Mapping[str, Any]
    swept: Mapping[str, Any]
    assignment: Mapping[str, Any]

    def words(self, ours: str | None, wandbs: str | None) -> list[str]:
        if ours is not None:
            pairs = self.swept.items() if ours == "params" else _leaves(self.config)
            hyphens = "" if ours == "args_no_hyphens" else "--"
            return [f"{hyphens}{name}={_as_word(value)}" for name, value in pairs]
        pairs = self.assignment.items()
        if wandbs == "args_no_boolean_flags":
            return [
                f"--{name}" if value is True else f"--{name}={_as_word(value)}"
                for name, value in pairs
                if value is not False
            ]
        if wandbs == "args_no_equals":
            return [word for name, value in pairs for word in (f"--{name}", _as_word(value))]
        return [_FORMS[wandbs or "args"].format(name, _as_word(value)) for name, value in pairs]


def _texts(run_dir: Path, checkpoint_dir: Path, sweep_id: str, attempt: int) -> dict[str, str]:
    return {
        "config": str((run_dir / "run_config.json").absolute()),
        "config.yaml": str((run_dir / "run_config.yaml").absolute()),
        "checkpoint_dir": str(checkpoint_dir.absolute()),
        "run_dir": str(run_dir.absolute()),
        "run_id": run_dir.name,
        "sweep_id": sweep_id,
        "attempt": str(attempt),
        # SLURM executes a job's script on the first of its nodes.
        "master": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "port": str(_free_port()),
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        port: int = found.getsockname()[1]
    return port


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _as_word(value: Any) -> str:
    """Write a value as W&B's agent does, and what a flag cannot carry (lists, mappings, null) as JSON."""
    return json.dumps(value) if value is None or isinstance(value, (list, dict)) else str(value)


def _swept(space: Space, assignment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the swept settings by their paths; where a label stands for a scalar, the scalar."""
    settings = space.settings(assignment)
    found = {}
    for parameter, path, value in space.places(assignment):
        is_plain = all(isinstance(key, str) and not key.startswith("dy__") for key in path)
        name = ".".join(map(str, path)) if is_plain else parameter.name
        found[name] = settings[parameter.name] if isinstance(value, (dict, list)) else value
    return found


def _keep_config(run: RunDirectory, config: dict[str, Any]) -> None:
    """Write the config's file anew if it is damaged: the program reads it."""
    try:
        if run.config() is not None:
            return
    except DirectoryError:
        pass
    replace_json(run.path / "run_config.json", config)
