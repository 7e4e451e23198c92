"""Search for inputs that end in anything but dysweep's own errors, guided by the lines that they reach.

    pip install atheris                                       (Python up to 3.13 on Linux)
    mkdir corpus && cp tutorials/*.yaml corpus
    python tests/coverage_fuzz.py yaml corpus -max_total_time=900    or language, directory, wandb

What it finds is kept in a test of its own, not as a corpus.
"""

import json
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dysweep", "yaml"]):
    from dysweep import DysweepError, Space
    from dysweep.directory.address import SweepAddress
    from dysweep.directory.legacy import sweep_of_metadata
    from dysweep.directory.sweep import Sweep, SweepDirectory
    from dysweep.language.definition import define
    from dysweep.language.naming import named_after
    from dysweep.views.status import read_status
    from dysweep.yaml_text import dump_yaml, parse_yaml

FOLDER = Path(tempfile.mkdtemp())
SPACE = Space.compile({"lr": {"sweep": True, "values": [1, 2]}})
SETTINGS = dict.fromkeys(("name", "method", "metric.name", "metric.goal"), ("setting", None))
SWEEP = Sweep("s", "offline", None, "p", None, {"lr": 0}, {"method": "grid"}, SPACE.to_json())


def yaml(data):
    """Read any text as YAML; what is read is written and read again as the same."""
    text = data.decode("utf-8", "replace")
    tree = parse_yaml(text, "a file")
    written = dump_yaml(tree)
    again = parse_yaml(written, "a file")
    assert repr(again) == repr(tree), (tree, written)


def language(data):
    """Create a sweep of any configuration, and resolve its first point."""
    reader = atheris.FuzzedDataProvider(data)
    base = parse_yaml(reader.ConsumeUnicodeNoSurrogates(200), "a base")
    configuration = parse_yaml(reader.ConsumeUnicodeNoSurrogates(2000), "a sweep")
    named_after(reader.ConsumeUnicodeNoSurrogates(100), {"lr": 1})
    if isinstance(base, str) or isinstance(configuration, str):
        return  # a path
    definition = define(base, configuration, SETTINGS, False, "offline")
    space = Space.from_json(definition.space.to_json())
    json.dumps(space.resolve(definition.base_config, space.example))


def directory(data):
    """Show a sweep of whose files some have any content."""
    reader = atheris.FuzzedDataProvider(data)
    sweep = SweepDirectory(FOLDER / "checkpoints-s")
    sweep.create(SWEEP)
    try:
        attempt = sweep.start_run("s-0001", {"lr": 1}, None, {"lr": 1})
        attempt.finish("finished", None, {"loss": 1.0})
        for path in (attempt.run.path / "run.json", attempt.claim_path, attempt.end_path):
            if reader.ConsumeBool():
                path.write_bytes(reader.ConsumeBytes(400))
            elif reader.ConsumeBool():
                path.write_text(json.dumps(changed(json.loads(path.read_text()), reader)))
        status = read_status(sweep, 3)
        status.to_json()
        status.to_csv()
    finally:
        shutil.rmtree(sweep.path)


def wandb(data):
    """Take anything for what a sweep has kept in W&B."""
    reader = atheris.FuzzedDataProvider(data)
    stored = changed(asdict(SWEEP), reader)
    stored["space"] = json.dumps(changed(json.loads(SWEEP.space), reader))
    try:
        sweep = Sweep.from_stored(stored)
        sweep.compiled.resolve({"lr": 0}, changed({"lr": 1}, reader))
    except (ValueError, DysweepError):
        pass
    old = {"base_config": {}, "compression": {"keys": {"lr": "lr"}, "values": {}, "remaining_bunch": {}}}
    sweep_of_metadata(
        SweepAddress("e", "p", "s"), changed(old, reader), {"parameters": {"lr": {"values": [1]}}}
    )


def changed(record, reader):
    """Replace some values of a record, or some of theirs, by any tree."""
    for key in list(record):
        if reader.ConsumeBool():
            continue
        if isinstance(record[key], dict) and reader.ConsumeBool():
            record[key] = changed(record[key], reader)
            continue
        try:
            record[key] = parse_yaml(reader.ConsumeUnicodeNoSurrogates(30), "a value")
        except DysweepError:
            del record[key]
    return record


def main():
    target = {"yaml": yaml, "language": language, "directory": directory, "wandb": wandb}[sys.argv.pop(1)]

    @atheris.instrument_func
    def tried(data):
        try:
            target(data)
        except DysweepError as error:
            assert "\n" not in str(error).strip(), error

    atheris.Setup(sys.argv, tried)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
