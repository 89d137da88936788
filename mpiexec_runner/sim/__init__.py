"""Virtual clusters: the very scheduler that runs jobs, driven with virtual workers and virtual time."""
