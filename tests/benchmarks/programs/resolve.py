"""Resolve a config in one of several ways: `resolve.py WHAT golden|large [LEAVES CHANGES]`; prints ms."""

import copy
import json
import sys
import time
from pathlib import Path

what, case, *size = sys.argv[1:]
REPEATS = 30


def golden():
    lines = (Path(__file__).parents[2] / "data/vectors.jsonl").read_text().splitlines()
    [case] = [each for each in map(json.loads, lines) if each["id"] == "pub-orig-maker1-upsert"]
    assignment = case["assignments"][-1]
    return case["base_config"], case["sweep_parameters"], assignment["flat"], assignment["config"]


def large(leaves, changes):
    """Return a base of blocks of ten leaves, and as many swept parameters as changes."""
    base = {f"block{block}": {f"leaf{leaf}": leaf for leaf in range(10)} for block in range(leaves // 10)}
    swept, flat, config = {}, {}, copy.deepcopy(base)
    for place in range(changes):
        block, leaf = f"block{place % len(base)}", f"leaf{place // len(base)}"
        name = f"{block}-{leaf}"
        swept.setdefault(block, {})[leaf] = {"sweep": True, "sweep_identifier": name, "values": [7.5, 8.5]}
        flat[name] = config[block][leaf] = 8.5
    return base, swept, flat, config


base, swept, flat, config = golden() if case == "golden" else large(*map(int, size))


def differences(base, tree):
    """Return the smallest patch that makes one tree out of another, as OmegaConf.merge takes it."""
    return {
        key: differences(base[key], value)
        if isinstance(value, dict) and isinstance(base.get(key), dict)
        else value
        for key, value in tree.items()
        if key not in base or base[key] != value
    }


def with_changed_paths(base, patch):
    """Copy only what is changed; the rest is shared with the base."""
    return {
        **base,
        **{
            key: with_changed_paths(base[key], value)
            if isinstance(value, dict) and isinstance(base.get(key), dict)
            else value
            for key, value in patch.items()
        },
    }


patch = differences(base, config)
if what == "dysweep":
    from dysweep import Space

    space = Space.compile(swept)
    resolve = lambda: space.resolve(base, flat)  # noqa: E731
elif what == "omegaconf":
    from omegaconf import OmegaConf

    first = OmegaConf.create(base)
    resolve = lambda: OmegaConf.to_container(OmegaConf.merge(first, patch))  # noqa: E731
elif what == "deepcopy":
    resolve = lambda: copy.deepcopy(base)  # noqa: E731
else:
    resolve = lambda: with_changed_paths(base, patch)  # noqa: E731

if what != "deepcopy":
    assert resolve() == config, what
at_once = 1
while True:
    begun = time.process_time()
    for _ in range(at_once):
        resolve()
    if time.process_time() - begun > 0.002:
        break
    at_once *= 2
taken = []
for _ in range(REPEATS):
    begun = time.process_time()
    for _ in range(at_once):
        resolve()
    taken.append((time.process_time() - begun) / at_once)
print(json.dumps(1000 * min(taken)))
