"""The least that creating costs: load YAML with the C loader, write JSON: `load_and_write.py FILE`."""

import json
import sys

import yaml

with open(sys.argv[1]) as file:
    tree = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
with open("sweep.json", "w") as file:
    json.dump(tree, file)
