"""W&B's SDK: its errors in one line, its talk kept quiet, its environment variables."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from netrc import NetrcParseError, netrc
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import wandb

from dysweep.directory.address import SweepAddress
from dysweep.errors import ConfigError, DysweepError, TrackingError
from dysweep.language.wandb_rules import OF_ONE_RUN
from dysweep.tracking.versions import GIVES_UP

ENTITY = "WANDB_ENTITY"
PROJECT = "WANDB_PROJECT"
_SERVICE = "WANDB_SERVICE"
_SECONDS_OF_A_LIMIT = 60.0  # where W&B does not tell
_HIDING_A_LIMIT = ("did not respond in time", "error occurred while verifying")
_LEFT_BY_THE_SDK = (ENTITY, PROJECT, "WANDB_DIR")


class LimitError(TrackingError):
    """W&B limits how often it may be asked.

    Args:
        seconds: until it may be asked again, as far as W&B has said.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(
            "W&B limits how often it may be asked (429 Too Many Requests): use fewer agents, or work offline "
            "(WANDB_MODE=offline) and upload with dysweep_sync"
        )
        self.seconds = seconds


def check_environment() -> None:
    """Check W&B's environment variables, which the SDK refuses only when a run starts.

    Raises:
        ConfigError: one has a value that the SDK does not accept.
    """
    for name, value in os.environ.items():
        if name.startswith("WANDB_") and name not in OF_ONE_RUN:
            try:
                # One variable at a time, or the error would not tell which; settings of its own are made,
                # none is changed.
                wandb.Settings().update_from_env_vars({name: value})
            except Exception as error:  # pydantic's, whose text is made for developers, or the SDK's own
                reason = error.errors()[0]["msg"] if hasattr(error, "errors") else str(error)
                shown = "its value" if "KEY" in name else repr(value)
                raise ConfigError(f"{name}: W&B does not accept {shown} ({reason})") from None


@contextmanager
def sdk_errors(what: str) -> Iterator[None]:
    """Talk to the SDK, and report whatever it raises, of many and undocumented kinds, as one line."""
    _leave_the_service_of_another_process()
    try:
        yield
    except DysweepError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if (seconds := _seconds_of_limit(reason)) is not None:
            raise LimitError(seconds) from error
        raise TrackingError(f"{what}: {_explained(reason)}") from error


def _leave_the_service_of_another_process() -> None:
    """A service that a parent process has started would not notice when this process dies."""
    token = os.environ.get(_SERVICE, "")  # "3-<pid of who started it>-unix-<path>"
    if token.split("-")[1:2] != [str(os.getpid())]:
        os.environ.pop(_SERVICE, None)


def _seconds_of_limit(reason: str) -> float | None:
    """Return how long W&B wants to be left alone, if that is why something has failed."""
    if "HTTP 429" in reason:
        return _SECONDS_OF_A_LIMIT
    if not any(words in reason for words in _HIDING_A_LIMIT):
        return None
    # The SDK repeats a request that W&B limits until its own time is over, and keeps the reason to itself.
    try:
        return _ask()
    except OSError:
        return None  # it cannot be reached at all


def check_reachable() -> None:
    """Check that W&B answers, where the SDK would ask again and again for days.

    Raises:
        TrackingError: it does not answer, or there is no API key.
    """
    if GIVES_UP:
        return
    with sdk_errors("W&B could not be asked"):
        if _api_key() is None:
            # The SDK says so itself, unless it was offline once in this process.
            if wandb.setup().settings.mode == "offline":
                raise wandb.errors.UsageError("No API key configured")
        elif (seconds := _ask()) is not None:
            raise LimitError(seconds)


def _api_key() -> str | None:
    """Return the API key that is set, or that `wandb login` has saved."""
    settings = wandb.setup().settings
    if settings.api_key:
        return str(settings.api_key)
    address = urlsplit(settings.base_url)
    try:
        logins = netrc(os.environ.get("NETRC"))
    except (OSError, NetrcParseError):
        return None
    # SDKs before 0.31 leave the port out.
    saved = logins.authenticators(address.netloc) or logins.authenticators(address.hostname or "")
    return saved[2] if saved else None


def _ask() -> float | None:
    """Ask W&B itself who the user is; return the seconds for which it wants to be left alone, if it does.

    Raises:
        OSError: it cannot be reached.
    """
    settings = wandb.setup().settings
    key = base64.b64encode(f"api:{_api_key()}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {key}"}
    question = b'{"query": "query Viewer { viewer { id } }"}'
    try:
        urlopen(Request(f"{settings.base_url}/graphql", question, headers), timeout=5).close()
    except HTTPError as error:
        with error:
            told = error.headers.get("RateLimit-Reset", "")
            if error.code == HTTPStatus.TOO_MANY_REQUESTS:
                return float(told) if told.isdecimal() else _SECONDS_OF_A_LIMIT
    return None


def _explained(reason: str) -> str:
    """Add how to mend it to what the SDK says."""
    if (
        "API key" in reason
        or "api_key" in reason
        or "No authentication" in reason
        or "not logged in" in reason
    ):
        log_in = "" if "wandb login" in reason else "; run `wandb login`"
        return f"{reason.rstrip('.')}{log_in}{_otherwise(', or work without an account')}"
    if "did not respond in time" in reason or "connect" in reason.lower():
        address = wandb.setup().settings.base_url
        return f"{address} cannot be reached ({reason.rstrip('.')}){_otherwise('; to work without it')}"
    return reason


def _otherwise(text: str) -> str:
    return "" if os.environ.get("WANDB_MODE") == "offline" else f"{text}: WANDB_MODE=offline"


@contextmanager
def quiet_sdk(**environment: str) -> Iterator[None]:
    """Keep the SDK from writing beside our messages, and undo what it changes in its environment variables.

    Args:
        environment: variables to set meanwhile.
    """
    environment["WANDB_SHOW_INFO"] = "false"
    before = {name: os.environ.get(name) for name in (*OF_ONE_RUN, *_LEFT_BY_THE_SDK, *environment)}
    for name in OF_ONE_RUN:  # they would make the SDK ignore which run is asked for
        os.environ.pop(name, None)
    # After the variables are gone, as the first use of the SDK reads them into its settings.
    forget_one_run()
    informed = wandb.setup().settings.show_info
    os.environ.update(environment)
    _set_informed(False)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        _set_informed(informed)


def forget_one_run() -> None:
    """Take out of the SDK's settings what it has read in the environment of a certain run or sweep."""
    settings = wandb.setup().settings
    for variable in OF_ONE_RUN:
        setattr(settings, variable.removeprefix("WANDB_").lower(), None)


def _set_informed(informed: bool) -> None:
    settings = wandb.Settings(show_info=informed)
    wandb.setup(settings=settings)
    wandb.termsetup(settings, None)


def log_in(entity: str | None) -> str | None:
    """Check that W&B can be reached and knows the user.

    Args:
        entity: W&B's user or team; None for the user's default one.

    Returns:
        the entity.

    Raises:
        TrackingError: W&B could not be reached, or does not know the user.
    """
    check_reachable()
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        api = wandb.Api({"entity": entity})
        return entity or api.default_entity


def fetch_run(address: SweepAddress, run_id: str) -> Any:
    """Ask W&B for a run; return None if there is none."""
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        try:
            return wandb.Api({"entity": address.entity}).run(f"{address.place}/{run_id}")
        except (ValueError, wandb.errors.CommError) as error:
            if "could not find run" in str(error).lower():
                return None
            raise


def wandb_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `wandb`, with its own logs put away."""
    with TemporaryDirectory() as logs:
        return subprocess.run(
            [sys.executable, "-m", "wandb", *arguments],
            env={**_without_one_run(os.environ), "WANDB_DIR": logs},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def _without_one_run(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in OF_ONE_RUN}
