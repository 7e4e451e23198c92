"""What the runs of finished and unfinished sweeps say, as tables: below the views, which read the runs."""
