"""python train.py CONFIG.toml [--section.key VALUE ...]: train, or continue."""

import sys

from transformer.cli.main import leave, run

if __name__ == "__main__":
    leave(run("train", sys.argv[1:]))
