"""All that speaks with W&B: the only importers of its SDK."""
