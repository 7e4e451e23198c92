"""The sweep directory: one record per run, written by any number of processes."""
