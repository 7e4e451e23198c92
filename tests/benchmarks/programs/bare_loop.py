"""The least that runs with W&B cost: `bare_loop.py RUNS lean|default [FUNCTION]`."""

import sys

import wandb
import work

runs, kind, *function = sys.argv[1:]
execute = getattr(work, function[0] if function else "nothing")
settings = {"silent": True, "reinit": "finish_previous", "mode": "offline"} if kind == "lean" else {}
for number in range(int(runs)):
    with wandb.init(project="speed", config={"number": number}, settings=wandb.Settings(**settings)):
        execute({"number": number}, None)
