"""Classify iris with what the configuration names: `python train.py config.yaml`."""

import importlib
import sys

import wandb
import yaml
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline


def build(node):
    module, _, name = node["class_path"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**node.get("init_args", {}))


def accuracy(config):
    features, kinds = load_iris(return_X_y=True)
    split = train_test_split(features, kinds, random_state=config["seed"], **config["split"])
    x_train, x_test, y_train, y_test = split
    pipeline = make_pipeline(*[build(step) for step in config["steps"]], build(config["model"]))
    return pipeline.fit(x_train, y_train).score(x_test, y_test)


def main(config, checkpoint_dir):
    wandb.log({"accuracy": accuracy(config)})


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        print("accuracy", accuracy(yaml.safe_load(file)))
