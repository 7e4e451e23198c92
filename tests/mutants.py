"""Change one rule of dysweep at a time, and see a test fail: `python tests/mutants.py [TEXT]`.

Each mutant is tried in a copy of the package, by the tests that hold its rule. One that survives, and one
whose text is not there any more, ends the script with 1. With TEXT only mutants that have it are tried.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
LONGEST = 600  # seconds; a mutant that hangs is found out as well
RUNS, SWEEP, SOURCES = "directory/runs.py", "directory/sweep.py", "agents/sources.py"
JUDGE, EARLY = "tracking/judge.py", "early_termination | "
EXECUTION, ISOLATION, SIGNALS = "agents/execution.py", "agents/isolation.py", "agents/signals.py"
MUTANTS = [
    (
        "language/alternatives.py",
        "taken = {each.sent for each, is_made in found if not is_made",
        "taken = {0 for each, is_made in found if not is_made",
        "spaces",
    ),
    ("language/flat.py", "sorted(outer, key=_is_repeat)", "outer", "spaces"),
    ("views/reading.py", "(entry.files, entry.changed) == (files, changed)", "entry.files == files", "index"),
    (
        "views/reading.py",
        "(entry.files, entry.changed) == (files, changed)",
        "entry.changed == changed",
        "index",
    ),
    ("views/index.py", 'line[:8] != b"%08x" % crc32(line[9:-1])', "False", "index"),
    ("views/index.py", "!= _line(_HEADER)", '== b""', "index"),
    ("language/exclusion.py", "joined |= dict.fromkeys(roots)", "joined |= {}", "spaces"),
    ("language/substitute.py", "patch = slots.fill(chosen)", "patch = value.value", "spaces"),
    (
        "search.py",
        "trial.value if trial.value is not None else worst",
        "trial.value if True else worst",
        "search",
    ),
    ("search.py", "return point if _written(point) not in taken", "return point if True", "search"),
    ("search.py", 'direction="maximize" if goal', 'direction="minimize" if goal', "search"),
    ("language/points.py", "{number}/{parameter.name}", "{number}", "search"),
    ("language/points.py", "divmod(index, repeats.size if repeats else 1)", "(index, 0)", "search"),
    ("language/combinations.py", "rest -= many", "pass", "search"),
    (
        "language/metric.py",
        "value >= self.target if self.goal",
        "value <= self.target if self.goal",
        "search",
    ),
    ("agents/run_values.py", "if is_finished:", "if True:", "search"),
    ("agents/suggestions.py", "if place in draws:", "if False:", "search"),
    ("directory/extensions.py", "bisect_right([each.first", "len([each.first", "extending"),
    ("agents/offline.py", "self.points = self.points.now(self.claims_of.directory)", "pass", "extending"),
    (SOURCES, 'self.directory.definition(record["definition"])', "self.directory.sweep", "extending"),
    (
        "extending.py",
        "int(tree) if isinstance(tree, float) and tree.is_integer() else tree",
        "tree",
        "extending",
    ),
    ("language/points.py", "if self.seed is not None:", "if self.seed:", "spaces"),
    # file, what is there, what is put there, the tests that hold the rule
    (
        RUNS,
        "if self.superseded():\n            return False",
        "if False:\n            return False",
        "checkpoint",
    ),
    (
        RUNS,
        "in (State.FAILED, State.CRASHED) for",
        "in (State.FAILED, State.CRASHED, State.PREEMPTED) for",
        "output | agree",
    ),
    (RUNS, "State.CRASHED if end is None else end.outcome", "State.CRASHED", "checkpoint output"),
    (
        RUNS,
        "in (State.FAILED, State.CRASHED) for",
        "== State.FAILED for",
        "programs | crashes_in_one_run",
    ),
    (RUNS, "if self.number < max_attempts", "if self.number <= max_attempts", "cli | keeps_failing"),
    (RUNS, " and outcomes[-1] in RESUMABLE", "", "checkpoint"),
    (RUNS, "owner.alive(self.last_beat) is not False:", "owner.alive(self.last_beat) is True:", "checkpoint"),
    (RUNS, "after.number + 1 if after", "after.number if after", "checkpoint"),
    (RUNS, "if delete:", "if not delete:", "cli checkpoint"),
    (RUNS, "Attempt(self, max(numbers))", "Attempt(self, min(numbers))", "checkpoint cli"),
    (RUNS, "owner is None or owner.alive(self.last_beat) is None", "False", "checkpoint"),
    (
        RUNS,
        "return end.metrics\n        return {}",
        "return {}\n        return {}",
        "output | keeps_the_metrics",
    ),
    (RUNS, "if os.path.islink(self.attempts_folder):", "if False:", "checkpoint disks"),
    ("directory/heartbeat.py", "clock - since >= self.lease", "clock - since >= 0", "checkpoint"),
    ("directory/heartbeat.py", "if beat != seen:", "if False:", "checkpoint"),
    (
        "directory/liveness.py",
        "self.boot_id, self.pid_namespace) == here",
        "here[1], here[2]) == here",
        "checkpoint",
    ),
    ("directory/liveness.py", "last_beat() < _boot_time()", "False", "checkpoint"),
    (
        "directory/runs.py",
        "State.PREEMPTED if owner.was_requeued() else State.CRASHED",
        "State.CRASHED",
        "checkpoint",
    ),
    ("agents/sources.py", "self.watch.let_leave(last, self.beat, self.stopping)", "pass", "checkpoint"),
    ("directory/liveness.py", "start == self.process_start", "True", "checkpoint"),
    ("directory/liveness.py", "self.slurm_restart_count < slurm.own_restarts()", "False", "checkpoint"),
    ("directory/liveness.py", "        if self.is_in_sight():\n", "        if True:\n", "hosts"),
    ("directory/address.py", "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}", "[A-Za-z0-9_.-]{1,128}", "checkpoint cli"),
    (SWEEP, "            made.claim(None)\n", "", "checkpoint cli"),
    (
        SWEEP,
        "if not run.path.exists():\n                    raise",
        "if True:\n                    raise",
        "checkpoint",
    ),
    (SWEEP, "if version != FORMAT_VERSION:", "if False:", "checkpoint cli"),
    (SWEEP, "or run.path.is_symlink()", "", "checkpoint"),
    (
        SWEEP,
        "if not published:",
        "if published:",
        "cli parallel",
    ),
    ("directory/location.py", "if here.sweep_id != path.sweep_id:", "if False:", "cli parallel mistakes"),
    (
        "directory/location.py",
        "user_path(self.root).absolute()",
        "user_path(self.root)",
        "parallel | working_directory",
    ),
    ("directory/legacy.py", "not directory.record_path.exists() and _runs", "_runs", "legacy"),
    (
        SOURCES,
        "return self.state is State.FAILED, self",
        "return self.state is not State.FAILED, self",
        "checkpoint",
    ),
    (SOURCES, "if from_scratch:\n            run.set", "if False:\n            run.set", "cli"),
    (SOURCES, "return found if from_scratch else", "return found if True else", "cli output"),
    (SOURCES, "return found if from_scratch else", "return found if False else", "cli"),
    (SOURCES, "if resume and state == State.FINISHED:", "if False:", "cli parallel"),
    (SOURCES, "if last is not None and self.claims_of.is_alive(last):", "if False:", "cli"),
    (
        SOURCES,
        "    found = find_resumable(claims.directory, states)\n    if wait and State.CRASHED in states:\n"
        "        yield from server.unstarted_runs()\n",
        "    if wait and State.CRASHED in states:\n        yield from server.unstarted_runs()\n"
        "    found = find_resumable(claims.directory, states)\n",
        "online | same_command",
    ),
    (SOURCES, "if state in states:", "if True:", "cli checkpoint"),
    (SOURCES, "from_scratch=not self.resume)", "from_scratch=False)", "cli"),
    ("agents/offline.py", "len(self.claims_of.directory.run_ids())", "0", "output"),
    (
        "tracking/checkpoints.py",
        'and claim.get("token") == token',
        "",
        "without_a_shared_directory | of_two",
    ),
    (
        "tracking/checkpoints.py",
        "if _known_version(run) == artifact.version:",
        "if True:",
        "without_a_shared_directory | elsewhere",
    ),
    ("launch/pool.py", "if code in _NO_MORE or", "if True or", "launch | started_again"),
    ("agents/requeue.py", 'return state == "RUNNING"', "return False", "slurm | time_limit"),
    (
        "agents/offline.py",
        "directory.run_id(index + 1), self.points",
        "directory.run_id(index), self.points",
        "cli",
    ),
    (
        "agents/agent.py",
        "yield from resumable_sources(claims, server, INTERRUPTED, wait=False)",
        "pass",
        "cli",
    ),
    ("agents/online.py", "if known.sweep_id != sweep.sweep_id:", "if False:", "online | only_the_runs_id"),
    ("agents/online.py", "finished=state is State.FINISHED", "finished=False", "online | queues"),
    (EXECUTION, "State.CRASHED if superseded else ", "", "cli | taken_over"),
    (EXECUTION, "run.end(0 if outcome is State.FINISHED else 1", "run.end(0", "online | hears"),
    (EXECUTION, "{} if claim.from_scratch else", "{} if False else", "output | keeps_the_metrics"),
    ("agents/outcome.py", "or (isinstance(error, SystemExit) and error.code in (None, 0))", "", "parallel"),
    (
        "agents/sources.py",
        "or last.given_up(State.CRASHED",
        "or not last.given_up(State.CRASHED",
        "programs | crashes_in_one_run",
    ),
    ("agents/failures.py", "and len(self._first_runs) == 1", "", "functions | fails_alike"),
    ("agents/program_job.py", "or code == _TRY_LATER", "", "programs | exit_code"),
    (
        "agents/supervisor.py",
        "    end_what_is_left(program)\n    code",
        "    code",
        "programs | leaves_running",
    ),
    ("agents/supervisor.py", "signal.signal(number, signal.SIG_IGN)", "pass", "programs | signalled"),
    ("agents/processes.py", "if -code == signal.SIGKILL", "if False", "programs | exit_code"),
    ("agents/capture.py", "if size <= self._max_bytes:", "if True:", "programs | long_log"),
    ("agents/child.py", "if is_follower():", "if False:", "ranks | isolated_function"),
    ("tracking/programs.py", "and named and grouped", "", "programs_online | names_and_the_group"),
    (
        "tracking/programs.py",
        "{} if self._from_scratch else",
        "{} if True else",
        "programs_online | preempted_program",
    ),
    (EXECUTION, "attempt.finish(State.PREEMPTED, None, earlier)", "None", "processes cli | grace or signal"),
    (
        "agents/function_job.py",
        "        if os.getpid() != process:\n",
        "        if False:\n",
        "processes | never_the_run",
    ),
    ("agents/function_job.py", "if inspect.iscoroutinefunction(function):", "if False:", "functions"),
    ("agents/functions.py", "with importing(package):", "if True:", "functions"),
    (
        ISOLATION,
        "stack.callback(_put_back_environment, _environment())",
        "pass",
        "processes | leaves_changed",
    ),
    (ISOLATION, "stack.callback(os.umask, _umask())", "pass", "processes | leaves_changed"),
    (
        ISOLATION,
        "stack.callback(_put_back_working_directory, Path.cwd())",
        "pass",
        "processes | leaves_changed",
    ),
    (ISOLATION, "sys.argv = sys.argv[:1]", "pass", "processes | function_leaves_changed"),
    (ISOLATION, "logging.disable(before.disabled_below)", "pass", "processes | turned_off"),
    ("agents/capture.py", "discard(self.stream)", "raise", "output | nobody_reads"),
    (
        SIGNALS,
        "elif word != signal.SIGUSR1 and callable(handler) and self._running:",
        "elif False:",
        "processes | handles_itself",
    ),
    (SIGNALS, "if _working.locked():", "if False:", "functions | inside_a_function"),
    (SIGNALS, "if isinstance(unraisable.exc_value, Preempted):", "if False:", "processes | destructors"),
    ("agents/ranks.py", "if rank > 0 or (rank == 0 and size > 1):", "if False:", "ranks"),
    ("agents/progress.py", "return not isinstance(value, Integral)", "return False", "output"),
    (JUDGE, "or at == self._last_step", "", EARLY + "seen_once"),
    (JUDGE, "if at < self._next_step:", "if False:", EARLY + "drops"),
    (JUDGE, "if commit or (step is None and commit is None)", "if True", EARLY + "seen_once"),
    (JUDGE, "return json_friendly(json_friendly(value)[0])[0]", "return value", EARLY + "seen_once"),
    (JUDGE, "if from_scratch:", "if False:", EARLY + "scratch"),
    (
        JUDGE,
        "if begun < self._look_again.get(band, 0.0):",
        "if band in self._look_again:",
        EARLY + "another_one",
    ),
    (JUDGE, "self._steps if RESUMES_OFFLINE", "0 if RESUMES_OFFLINE", EARLY + "earlier_attempts"),
    ("directory/bands.py", "count, best, steps = int(number)", "count, best, steps = 0", EARLY + "earlier"),
    ("tracking/runs.py", "self._judge.watch(run)", "pass", EARLY + "seen_once"),
    ("agents/isolated_job.py", "= State.KILLED, answer.stopped_early", "= State.KILLED, None", EARLY + "own"),
    (
        "agents/execution.py",
        "run.stopped_early if outcome is State.KILLED else None",
        "run.stopped_early",
        EARLY + "swallows",
    ),
    ("language/hyperband.py", "if self.strict else", "if True else", EARLY + "compares"),
]


def main(text: str = "") -> int:
    chosen = [mutant for mutant in MUTANTS if any(text in part for part in mutant)]
    begun = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        fates = list(pool.map(lambda mutant: tried(*mutant), chosen))
    survivors = sum(fate not in ("killed", "hung") for fate in fates)
    killed = len(chosen) - survivors
    print(f"{len(chosen)} mutants, {killed} killed, {survivors} not, {time.monotonic() - begun:.0f} seconds")
    return 1 if survivors else 0


def tried(file: str, old: str, new: str, tests: str) -> str:
    """Try one mutant, and print and return what has become of it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("dysweep", "tests", "tutorials", "images"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (*ROOT.glob("*.toml"), *ROOT.glob("*.md"), *ROOT.glob("requirements*"), ROOT / "LICENSE"):
            shutil.copy(path, copy)
        source = copy / "dysweep" / file
        text = source.read_text()
        if text.count(old) != 1:
            fate = f"not there once ({text.count(old)})"
        else:
            source.write_text(text.replace(old, new))
            fate = fate_by(copy, tests)
    print(f"{fate:9}  {file}: {' '.join(old.split())} -> {' '.join(new.split()) or 'nothing'}", flush=True)
    return fate


def fate_by(copy: Path, tests: str) -> str:
    files, _, expression = tests.partition("|")
    paths = [f"tests/test_{name}.py" for name in files.split()]
    chosen = ["-k", expression.strip()] if expression else []
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-m",
        "",
        "-p",
        "no:cacheprovider",
        *paths,
        *chosen,
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        return "hung"
    return "killed" if done.returncode == 1 else "SURVIVED"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
