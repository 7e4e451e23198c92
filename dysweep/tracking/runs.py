"""One W&B run of a sweep: started, shared with the function's own `wandb` calls, ended."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wandb
from wandb.integration import gym, tensorboard
from wandb.sdk import wandb_helper

from dysweep.directory.address import SweepAddress
from dysweep.directory.runs import RunDirectory
from dysweep.directory.sweep import Sweep
from dysweep.language.hyperband import StoppedEarly
from dysweep.language.naming import value_at
from dysweep.text import short, short_value
from dysweep.tracking.judge import Judge
from dysweep.tracking.metrics import final_summary, numbers, other_kinds
from dysweep.tracking.records import last_offline_step
from dysweep.tracking.replacing import replace_everywhere
from dysweep.tracking.requirements import WITHOUT_REQUIREMENTS, save_requirements
from dysweep.tracking.sdk import forget_one_run, quiet_sdk, sdk_errors
from dysweep.tracking.upload import mark_not_uploaded
from dysweep.tracking.versions import (
    HAS_FINISH_TIMEOUT,
    HAS_STOP_FUNCTION,
    RESUMES_OFFLINE,
)

logger = logging.getLogger("dysweep")

_DATA_DIR = "WANDB_DATA_DIR"
_FINISH_TIMEOUT = "WANDB_FINISH_TIMEOUT"
_LONGEST_FINISH = (
    1800  # seconds that the end of a run waits for its upload, unless the variable says otherwise
)
_LIVE = ("sync_tensorboard", "tensorboard", "monitor_gym")
_TAKEN = ("name", "tags", "notes", "job_type", "group", *_LIVE)
_CONFIG = ("config", "config_exclude_keys", "config_include_keys")
_WITHOUT_WORD = (*_CONFIG, "reinit", "resume", "force", "anonymous", "allow_val_change")
_said: set[str] = set()


class TrackedRun:
    """A W&B run of a sweep, from its start to its end.

    Args:
        sweep: the sweep that it belongs to. If W&B serves it, W&B hears of the run now, else by `wandb sync`,
            with the sweep's id as the run's group.
        run: the run's directory, where W&B puts its own folder `wandb/`.
        assignment: what the sweep chose, in the run's config.
        name: the run's name; None if W&B chooses it.
        config: the tree, kept as `dy_config` in the run's config, below the assignment.
        from_scratch: begin with step 0 also where W&B knows the run, instead of after its last step.
        with_tree: put the tree's keys into the run's config too, beside `dy_config`.
        when_stopped: called, from another thread, if W&B stops the run.
        judge: sees what is logged, and stops the run early.

    Attributes:
        other_values: what was logged and is not a number, with its kind, once the run has ended.

    Raises:
        TrackingError: W&B did not start the run.
    """

    def __init__(
        self,
        sweep: Sweep,
        run: RunDirectory,
        assignment: Mapping[str, Any],
        name: str | None,
        config: Mapping[str, Any],
        *,
        from_scratch: bool = False,
        with_tree: bool = False,
        when_stopped: Callable[[], object] = lambda: None,
        judge: Judge | None = None,
    ) -> None:
        self._folder = run.path
        self._judge = judge
        self._online = sweep.online
        self._locked = {**assignment, "dy_config": dict(config)}
        self._shown = shown_beside(sweep, config, with_tree)
        self._place: dict[str, Any] = {"id": run.run_id, "entity": sweep.entity, "project": sweep.project}
        self._settings: dict[str, Any] = {"silent": True, "reinit": "finish_previous", **WITHOUT_REQUIREMENTS}
        if name:
            self._place["name"] = name
        if sweep.online:
            self._settings |= {"mode": "online", "sweep_id": sweep.sweep_id}
            if HAS_STOP_FUNCTION:
                self._settings["stop_fn"] = when_stopped
            if HAS_FINISH_TIMEOUT and _FINISH_TIMEOUT not in os.environ:
                self._settings["finish_timeout"] = _LONGEST_FINISH
        else:
            self._settings["mode"] = sweep.mode
            self._place["group"] = sweep.sweep_id
        self._given: dict[str, Any] = {}
        self._ended: list[wandb.Run] = []
        self.other_values: dict[str, str] = {}
        self._process = os.getpid()
        resume = None if from_scratch else "allow"
        with (
            sdk_errors(f"W&B did not start the run {run.run_id}"),
            quiet_sdk() if sweep.online else nullcontext(),
        ):
            try:
                self.run = self._start(wandb.init, {}, resume)
            except ConnectionError:  # W&B's process was killed after the last run
                _leave_service()
                self.run = self._start(wandb.init, {}, resume)

    def _start(self, init: Callable[..., wandb.Run], config: dict[str, Any], resume: str | None) -> wandb.Run:
        forget_one_run()  # of the agent's environment: the SDK would ignore ours
        run = init(
            **{**self._given, **self._place},
            config={**config, **self._shown, **self._locked},
            dir=self._folder,
            resume=resume if self._online or RESUMES_OFFLINE else None,
            settings=wandb.Settings(**self._settings),
        )
        save_requirements(run)
        if self._judge is not None:
            self._judge.watch(run)
        if resume and not self._online and not RESUMES_OFFLINE:
            last = last_offline_step(self._folder)
            if last is not None:
                run.log({}, step=last + 1, commit=False)
        # As under W&B's own agent, config.update() in the function does not change what the sweep has chosen.
        config_of_run: Any = run.config
        # update_locked is what the SDK's own sweeps use; it is not in its public documentation (0.31).
        config_of_run.update_locked(self._locked, user="sweep", _allow_val_change=True)
        return run

    @property
    def stopped_early(self) -> StoppedEarly | None:
        """Why the run was stopped early."""
        return None if self._judge is None else self._judge.stopped_early

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Let `wandb.init()` in the function give this run, as it does under W&B's own agent."""
        init, teardown, login = wandb.init, wandb.teardown, wandb.login
        # The SDK's live settings belong to the process: what a function changes there would reach the
        # next run.
        settings = wandb.setup().settings.model_copy()

        def joining_init(*args: Any, **kwargs: Any) -> wandb.Run:
            try:
                given = inspect.signature(init).bind(*args, **kwargs).arguments
            except TypeError:
                return init(*args, **kwargs)  # whose own error names it
            reinit = given.get("reinit") or _set_in(given.get("settings")).get("reinit")
            # A run beside the sweep's, or a child of a fork, is not the sweep's run.
            if reinit == "create_new" or os.getpid() != self._process:
                return init(*args, **kwargs)
            given |= _in_settings(given.pop("settings", None))
            return self._join(init, {name: value for name, value in given.items() if value is not None})

        def finishing_teardown(*args: Any, **kwargs: Any) -> None:
            if os.getpid() == self._process:
                self.run.finish()  # the SDK would drop its summary
            teardown(*args, **kwargs)

        def done_login(*args: Any, **kwargs: Any) -> bool:
            # The SDK warns of a login after init and returns False; under its own agent it would come before.
            return self._online if os.getpid() == self._process else login(*args, **kwargs)

        own = {init: joining_init, teardown: finishing_teardown, login: done_login}
        replace_everywhere(own)
        if not self._online:
            # Artifacts wait here for the upload, which may come from another host with another home folder.
            os.environ.setdefault(_DATA_DIR, str(self._folder / "wandb"))
        # Live settings, which everything in this process sees that asks the SDK itself, as Lightning does.
        meanwhile = wandb.setup().settings
        meanwhile.reinit = "return_previous"  # for notebooks, where the SDK would begin another run
        meanwhile.mode = self._settings["mode"]
        meanwhile.project = self._place["project"]
        meanwhile.entity = self._place["entity"] or meanwhile.entity
        meanwhile.show_info = False
        meanwhile.root_dir = str(self._folder)
        try:
            yield
        finally:
            replace_everywhere({ours: sdks for sdks, ours in own.items()})
            changed = wandb.setup().settings
            # One by one: the SDK has no way to replace its settings while it lives (0.31).
            for name in wandb.Settings.model_fields:
                if getattr(changed, name) != getattr(settings, name):
                    setattr(changed, name, getattr(settings, name))

    def _join(self, init: Callable[..., wandb.Run], given: dict[str, Any]) -> wandb.Run:
        parse: Any = wandb_helper.parse_config
        config = parse(
            given.get("config", {}), given.get("config_exclude_keys"), given.get("config_include_keys")
        )
        self._given |= {name: given[name] for name in _TAKEN if name in given}
        # The function's first init of this run: it is running already, so its arguments are put into it.
        if wandb.run is self.run:
            self._take(given, config)
        else:
            # The function has finished the run and begins it again: its metrics of before are kept.
            self._ended.append(self.run)
            self.run = self._start(init, config, "allow")
        self._say_what_differs(config)
        self._say_what_is_not_used(given)
        return self.run

    def _take(self, given: Mapping[str, Any], config: dict[str, Any]) -> None:
        run: Any = self.run
        run.config.setdefaults(config)
        if given.get("sync_tensorboard") or given.get("tensorboard"):
            if not wandb.patched["tensorboard"]:
                tensorboard.patch()
        if given.get("monitor_gym") and not wandb.patched["gym"]:
            monitor: Any = gym.monitor
            monitor()
        # The SDK has no setters for these two (0.31); the next one sends them all.
        private = run._settings
        private.run_job_type = given.get("job_type", private.run_job_type)
        private.run_group = self._place.get("group", given.get("group", private.run_group))
        if "notes" in given:
            run.notes = given["notes"]
        if "tags" in given:
            run.tags = tuple(dict.fromkeys((*(run.tags or ()), *given["tags"])))
        if {"name", "job_type", "group"} & given.keys():
            run.name = self._place.get("name", given.get("name", run.name))

    def _say_what_differs(self, config: Mapping[str, Any]) -> None:
        """Name defaults of the function that are not what the run has; its own variables still have them."""
        chosen = {name: value for name, value in self._locked.items() if name != "dy_config"}
        tree = {name: value for name, value in self._locked["dy_config"].items() if name not in chosen}
        for known, told in ((chosen, "the sweep has chosen"), (tree, "the run's config has")):
            others = [
                name for name, value in config.items()
                if name in known and known[name] != value and not isinstance(known[name], (dict, list))
            ]  # fmt: skip
            if others and told not in _said:
                _said.add(told)
                logger.warning(
                    "wandb.init in the function: its config has %s, and %s %s; use wandb.config, or what the "
                    "function got as config",
                    short({name: config[name] for name in others}),
                    told,
                    short({name: known[name] for name in others}),
                )

    def _say_what_is_not_used(self, given: Mapping[str, Any]) -> None:
        run = self.run
        taken = {
            **self._given, **self._place,
            "project": run.project, "entity": run.entity, "id": run.id, "mode": self._settings["mode"],
        }  # fmt: skip
        unused = [
            name for name, value in given.items() if name not in _WITHOUT_WORD and taken.get(name) != value
        ]
        if unsaid := [name for name in unused if name not in _said]:
            _said.update(unsaid)
            words = ", ".join(f"{name}={short_value(repr(given[name]))}" for name in unsaid)
            logger.warning(
                "wandb.init in the function: %s not used, as the run is the sweep's; "
                "reinit='create_new' starts another run beside it",
                words,
            )

    def mark_preempting(self) -> None:
        """Tell W&B from the start that the run may be preempted."""
        self.run.mark_preempting()

    def mark_preempted(self) -> None:
        """Tell W&B that the run, if it is unfinished, ends because its process has to."""
        # Only while it is the active run: the function may have finished it, and begun another one beside it.
        if wandb.run is self.run:
            with suppress(wandb.errors.UsageError):  # the main thread has finished it meanwhile
                self.run.mark_preempting()

    def end(self, exit_code: int, preempted: bool) -> dict[str, float]:
        """End the run, also if the function has finished it itself.

        Args:
            exit_code: 0 for success.
            preempted: tell W&B that it was preempted.

        Returns:
            the final numeric metrics, nested ones with dotted names, without W&B's own.
        """
        if self._judge is not None:
            self._judge.end()
        try:
            if preempted:
                self.mark_preempted()
            self.run.finish(exit_code=exit_code)
        except Exception as error:  # for example its process was killed, as memory ran out
            reason = str(error) or type(error).__name__
            logger.warning(
                "%s: W&B has not ended the run (%s); its last metrics are lost", self.run.id, reason
            )
            _leave_service()
        metrics: dict[str, float] = {}
        for run in (*self._ended, self.run):
            self._keep_the_rest(run)
            summary = final_summary(run)
            metrics |= numbers(summary)
            self.other_values |= other_kinds(summary)
        return dict(sorted(metrics.items()))

    def _keep_the_rest(self, run: wandb.Run) -> None:
        """Mark what the end of a run did not wait to upload, for `dysweep_sync`."""
        # The public `finish_timeout_raises` would raise in the function, if it finishes the run itself.
        if self._online and getattr(run, "_finish_timed_out", False):
            mark_not_uploaded(Path(run.dir).parent)
            rest = f"dysweep_sync --sweep_id {self._settings['sweep_id']}"
            logger.warning("%s: W&B did not receive all of it in time; upload the rest: %s", run.id, rest)


def shown_beside(sweep: Sweep, config: Mapping[str, Any], with_tree: bool) -> dict[str, Any]:
    """Return what a run's config in W&B has besides the assignment and `dy_config`, which win."""
    shown = {key: value_at(config, path) for key, path in sweep.wandb_keys.items()}
    tree = dict(config) if with_tree else {}
    return {**tree, **{key: value for key, value in shown.items() if value is not None}}


def _set_in(settings: Any) -> dict[str, Any]:
    """Return what a call has set in `settings=`, a mapping or the SDK's Settings."""
    if isinstance(settings, Mapping):
        return dict(settings)
    return {name: getattr(settings, name) for name in getattr(settings, "model_fields_set", ())}


def _in_settings(settings: Any) -> dict[str, Any]:
    """Return what is in `settings=` as arguments of init; what is none of them stays named below settings."""
    given = _set_in(settings)
    arguments = {
        name: given.pop(f"run_{name}", None) for name in ("name", "tags", "notes", "job_type", "group")
    }
    arguments |= {name: given.pop(name, None) for name in _LIVE}
    others = sorted(given.keys() - {"reinit", "resume", "anonymous"})
    return {name: value for name, value in arguments.items() if value} | (
        {"settings": others} if others else {}
    )


def tell_end(address: SweepAddress, run_id: str, finished: bool) -> None:
    """Tell W&B how a run that it has ended, and that it is in the sweep, without executing it.

    Several threads may do so at once, within `quiet_sdk`.

    Args:
        address: the sweep.
        run_id: the run.
        finished: whether it has finished, or failed.

    Raises:
        TrackingError: W&B could not be told.
    """
    with sdk_errors(f"W&B could not be told the end of {run_id}"), TemporaryDirectory() as folder:
        settings = wandb.Settings(
            mode="online", sweep_id=address.sweep_id, silent=True, console="off", disable_git=True,
            reinit="create_new", x_disable_stats=True,
        )  # fmt: skip
        run = wandb.init(
            entity=address.entity,
            project=address.project,
            id=run_id,
            resume="must",
            dir=folder,
            settings=settings,
        )
        run.finish(exit_code=0 if finished else 1)


def _leave_service() -> None:
    """Let the SDK start its process anew."""
    try:
        wandb.teardown()
    except Exception as error:  # it tells the one that is dead; wandb 0.31 raises ConnectionResetError
        logger.debug("%r", error)
    wandb.run = None  # otherwise wandb.agent finishes it once more, which raises in its thread
