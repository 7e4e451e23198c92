"""Train a small classifier and log its accuracy to Weights & Biases.

`main` at the end of this file is what a sweep runs: it receives one configuration and a checkpoint folder.
Everything above it is ordinary training code that knows nothing about sweeps.
"""

import csv
import json
import math
import os
import pathlib
import random
import statistics
from collections import Counter
from typing import Any

import wandb

from dysweep import instantiate

Row = list[float]
Example = tuple[Row, str]  # the features and the label


class Classifier:
    """What all models have in common: what they have learned is a dictionary that JSON can store."""

    def __init__(self) -> None:
        self.learned: dict[str, Any] = {}

    def learn(self, examples: list[Example]) -> None:
        """Train for one epoch."""
        raise NotImplementedError

    def predict(self, row: Row) -> str:
        """Return the label for one row."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        return self.learned

    def load(self, state: dict[str, Any]) -> None:
        self.learned = state


class KNearestNeighbours(Classifier):
    """Remembers all examples and lets the k nearest ones vote. Has learned everything after one epoch."""

    def __init__(self, *, k: int = 5, weights: str = "uniform") -> None:
        super().__init__()
        if weights not in ("uniform", "distance"):
            raise ValueError(f"weights must be 'uniform' or 'distance', not {weights!r}")
        self.k = k
        self.weights = weights

    def learn(self, examples: list[Example]) -> None:
        self.learned = {"examples": examples}

    def predict(self, row: Row) -> str:
        distances = [(math.dist(row, known), label) for known, label in self.learned["examples"]]
        votes: dict[str, float] = {}
        for distance, label in sorted(distances)[: self.k]:
            vote = 1.0 if self.weights == "uniform" else 1.0 / (distance + 1e-9)
            votes[label] = votes.get(label, 0.0) + vote
        return max(votes, key=lambda label: votes[label])


class DecisionTree(Classifier):
    """Asks one question after the other: is this feature below that limit? Grows one level per epoch.

    A leaf is {"label": ...}, any other node {"feature": ..., "limit": ..., "low": node, "high": node}.
    """

    def __init__(self, *, max_depth: int = 4, min_leaf: int = 2) -> None:
        super().__init__()
        self.max_depth = max_depth
        self.min_leaf = min_leaf

    def learn(self, examples: list[Example]) -> None:
        root = self.learned or leaf(examples)
        self.learned = self.grow(root, examples, depth=0)

    def grow(self, node: dict[str, Any], examples: list[Example], depth: int) -> dict[str, Any]:
        """Return the node with each leaf below it split in two, where that helps."""
        if "label" not in node:
            low, high = divide(examples, node["feature"], node["limit"])
            low_node = self.grow(node["low"], low, depth + 1)
            high_node = self.grow(node["high"], high, depth + 1)
            return {**node, "low": low_node, "high": high_node}
        question = self.best_question(examples) if depth < self.max_depth else None
        if question is None:
            return node
        low, high = divide(examples, *question)
        return {"feature": question[0], "limit": question[1], "low": leaf(low), "high": leaf(high)}

    def best_question(self, examples: list[Example]) -> tuple[int, float] | None:
        """Return the feature and limit that separate the labels best, or None if no question helps."""
        best, best_impurity = None, impurity(examples)
        for feature in range(len(examples[0][0])):
            values = sorted({row[feature] for row, _ in examples})
            for smaller, larger in zip(values, values[1:], strict=False):
                limit = (smaller + larger) / 2
                low, high = divide(examples, feature, limit)
                if min(len(low), len(high)) < self.min_leaf:
                    continue
                remaining = impurity(low) + impurity(high)
                if remaining < best_impurity - 1e-9:
                    best, best_impurity = (feature, limit), remaining
        return best

    def predict(self, row: Row) -> str:
        node = self.learned
        while "label" not in node:
            node = node["low"] if row[node["feature"]] < node["limit"] else node["high"]
        return str(node["label"])


def leaf(examples: list[Example]) -> dict[str, Any]:
    """Return a leaf that answers with the most frequent label."""
    return {"label": Counter(label for _, label in examples).most_common(1)[0][0]}


def impurity(examples: list[Example]) -> float:
    """Return the Gini impurity times the number of examples: 0 if all labels are equal."""
    counts = Counter(label for _, label in examples).values()
    return len(examples) - sum(count**2 for count in counts) / len(examples)


def divide(examples: list[Example], feature: int, limit: float) -> tuple[list[Example], list[Example]]:
    """Separate the examples below the limit from the others."""
    low = [example for example in examples if example[0][feature] < limit]
    high = [example for example in examples if example[0][feature] >= limit]
    return low, high


class SoftmaxRegression(Classifier):
    """A linear model, trained by stochastic gradient descent: each epoch visits all examples once, in order.

    For each label it learns one weight per feature, and a constant as the last one.
    """

    def __init__(self, *, lr: float = 0.05, l2: float = 0.0) -> None:
        super().__init__()
        self.lr = lr
        self.l2 = l2

    def learn(self, examples: list[Example]) -> None:
        if not self.learned:
            features = len(examples[0][0])
            self.learned = {label: [0.0] * (features + 1) for label in labels_of(examples)}
        for row, label in examples:
            probabilities = self.probabilities(row)
            for name, weights in self.learned.items():
                error = probabilities[name] - (1.0 if name == label else 0.0)
                for i, value in enumerate([*row, 1.0]):
                    weights[i] -= self.lr * (error * value + self.l2 * weights[i])

    def probabilities(self, row: Row) -> dict[str, float]:
        scores = {}
        for label, weights in self.learned.items():
            scores[label] = sum(w * value for w, value in zip(weights, [*row, 1.0], strict=True))
        highest = max(scores.values())  # subtracted so that exp() cannot overflow
        powers = {label: math.exp(score - highest) for label, score in scores.items()}
        total = sum(powers.values())
        return {label: power / total for label, power in powers.items()}

    def predict(self, row: Row) -> str:
        probabilities = self.probabilities(row)
        return max(probabilities, key=lambda label: probabilities[label])


class NaiveBayes(Classifier):
    """Describes each label by a normal distribution per feature. Has learned everything after one epoch."""

    def __init__(self, *, smoothing: float = 1e-3) -> None:
        super().__init__()
        self.smoothing = smoothing  # added to each variance

    def learn(self, examples: list[Example]) -> None:
        for label in labels_of(examples):
            columns = columns_of([row for row, row_label in examples if row_label == label])
            self.learned[label] = {
                "share": len(columns[0]) / len(examples),
                "means": [statistics.fmean(column) for column in columns],
                "variances": [statistics.pvariance(column) + self.smoothing for column in columns],
            }

    def log_likelihood(self, row: Row, label: str) -> float:
        known = self.learned[label]
        result = math.log(known["share"])
        for value, mean, variance in zip(row, known["means"], known["variances"], strict=True):
            result -= (math.log(2 * math.pi * variance) + (value - mean) ** 2 / variance) / 2
        return result

    def predict(self, row: Row) -> str:
        return max(self.learned, key=lambda label: self.log_likelihood(row, label))


def labels_of(examples: list[Example]) -> list[str]:
    return sorted({label for _, label in examples})


def columns_of(rows: list[Row]) -> list[tuple[float, ...]]:
    return list(zip(*rows, strict=True))


def load_data(data: dict[str, Any], seed: int) -> tuple[list[Example], list[Example]]:
    """Read a CSV file of this folder (last column: the label); return training and test examples."""
    path = pathlib.Path(__file__).parent / data["csv"]
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))[1:]  # without the header
    examples = [([float(value) for value in line[:-1]], line[-1]) for line in lines]
    random.Random(seed).shuffle(examples)
    tests = round(len(examples) * data["test_fraction"])
    train, test = examples[tests:], examples[:tests]
    if data["standardize"]:
        train, test = standardized(train, reference=train), standardized(test, reference=train)
    return train, test


def standardized(examples: list[Example], reference: list[Example]) -> list[Example]:
    """Shift and scale each feature so that it has mean 0 and deviation 1 in the reference examples."""
    columns = columns_of([row for row, _ in reference])
    means = [statistics.fmean(column) for column in columns]
    deviations = [statistics.pstdev(column) or 1.0 for column in columns]
    result = []
    for row, label in examples:
        scaled = [(v - mean) / dev for v, mean, dev in zip(row, means, deviations, strict=True)]
        result.append((scaled, label))
    return result


def accuracy_of(model: Classifier, examples: list[Example]) -> float:
    """Return the share of examples for which the model predicts the right label."""
    return sum(model.predict(row) == label for row, label in examples) / len(examples)


def save(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Write a JSON file. An interruption leaves the old or the new file, never half of one."""
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(content), encoding="utf-8")
    os.replace(beside, path)


def main(config: dict[str, Any], checkpoint_dir: pathlib.Path) -> float:
    """Train one model as the configuration says and return its accuracy on the test examples.

    An interrupted run that is called again with the same folder continues after its last saved epoch.
    """
    train, test = load_data(config["data"], config["seed"])
    model: Classifier = instantiate(config["model"])

    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoint_dir / "state.json"
    epochs_done, accuracy = 0, 0.0
    if checkpoint.exists():
        saved = json.loads(checkpoint.read_text(encoding="utf-8"))
        epochs_done, accuracy = saved["epoch"], saved["accuracy"]
        model.load(saved["model"])

    for epoch in range(epochs_done + 1, config["epochs"] + 1):
        model.learn(train)
        accuracy = accuracy_of(model, test)
        wandb.log({"epoch": epoch, "train_accuracy": accuracy_of(model, train), "accuracy": accuracy})
        save(checkpoint, {"epoch": epoch, "accuracy": accuracy, "model": model.state()})
    return accuracy
