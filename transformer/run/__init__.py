"""The run directory: lock, records, checkpoints, metrics, signals; how a run is stopped and resumed."""
