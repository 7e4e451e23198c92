"""A sweep by W&B's own agent, with runs that do nothing: `wandb_agent.py create|RUNS [SWEEP]`."""

import sys

import wandb
import work

what, *sweep = sys.argv[1:]


def main():
    with wandb.init(settings=wandb.Settings(silent=True)):
        work.nothing({}, None)


if what == "create":
    parameters = {"number": {"values": list(range(100))}}
    print(wandb.sweep({"method": "grid", "parameters": parameters}, project="speed"))
else:
    wandb.agent(sweep[0], main, project="speed", count=int(what))
