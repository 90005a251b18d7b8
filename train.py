"""python train.py CONFIG.toml [--section.key VALUE ...]: train, or continue."""

import sys

from transformer.commands.main import run

if __name__ == "__main__":
    sys.exit(run("train", sys.argv[1:]))
