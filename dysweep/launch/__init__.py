"""Agents started on a SLURM cluster or on this machine; the sweep's directory coordinates them."""
