"""Configs of runs: in what two of them differ, and one as a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dysweep.results.columns import pandas
from dysweep.text import harmless
from dysweep.yaml_text import dump_yaml


def difference(
    settings: Iterable[tuple[str, str | None, str | None]],
    metrics: tuple[Mapping[str, float], Mapping[str, float]],
    run_ids: tuple[str, str],
) -> Any:
    """Return in which settings two runs differ, and their metrics.

    Args:
        settings: path and both values as JSON, None where a config has none.
        metrics: the metrics of both.
        run_ids: their ids.

    Returns:
        a row for each: its kind (setting or metric), its name, and a column for each run.
    """
    rows: list[tuple[str, str, Any, Any]] = [
        ("setting", path, old, new) for path, old, new in settings if old != new
    ]
    one, other = metrics
    rows += [("metric", name, one.get(name), other.get(name)) for name in sorted({*one, *other})]
    return pandas.DataFrame(rows, columns=["kind", "name", *run_ids], dtype=object)


def as_base_config(config: Mapping[str, Any], about: str) -> str:
    """Write a config as a YAML file that is itself a base config.

    Args:
        config: the config.
        about: where it comes from, for a comment.
    """
    comment = " ".join(harmless(about).split())
    return f"# {comment}\n{dump_yaml(dict(config))}"
