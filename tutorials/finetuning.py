"""Count what a fine-tuning with low-rank adapters would train; the model itself is not needed for that."""

import pathlib
from typing import Any

import wandb


def main(config: dict[str, Any], checkpoint_dir: pathlib.Path) -> int:
    """Log the number of trainable parameters: an adapter of rank r has r * (inputs + outputs) per matrix."""
    shape = config["model"]["shape"]
    hidden, wide = shape["hidden"], shape["feed_forward"]
    sizes = dict.fromkeys(["q_proj", "k_proj", "v_proj", "o_proj"], 2 * hidden)
    sizes |= dict.fromkeys(["gate_proj", "up_proj", "down_proj"], hidden + wide)
    adapter = config["adapter"]["init_args"]
    trained = shape["layers"] * sum(adapter["r"] * sizes[name] for name in adapter["target_modules"])
    wandb.log({"trainable_parameters": trained})
    mixture = ", ".join(f"{part['name']} ({part['weight']})" for part in config["data"]["mixture"])
    print(f"{trained / 1e6:.1f} M parameters on {mixture}, {config['trainer']['schedule']['name']} schedule")
    return trained
