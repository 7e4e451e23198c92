"""Read every byte of the records of a sweep's runs once, and parse it: `read_records.py RUNS`."""

import json
import os
import sys

runs = sys.argv[1]
for name in os.listdir(runs):
    attempts = f"{runs}/{name}/attempts"
    records = [f"{attempts}/{file}" for file in os.listdir(attempts) if file.endswith(".json")]
    for path in (f"{runs}/{name}/run.json", *records):
        with open(path, "rb") as file:
            json.loads(file.read())
