"""Training runs: the run directory with its lock, checkpoints and metrics, and how a run is stopped and resumed."""
