"""A sweep shown: before it is created, while it runs, and as a report."""
