"""Agents: where they get runs from, how a run is executed, and what it may do to the process."""
