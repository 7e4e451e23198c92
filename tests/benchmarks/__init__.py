"""What dysweep costs beside its peers, measured in one run: `python -m tests.benchmarks --help`.

One module measures one family. `ruler.py` runs programs and counts, `sweeps.py` makes sweep directories,
`programs/` is what is run, `baseline.py` what was measured before the work on speed, `table.py` what is
shown.
"""
