"""python train.py CONFIG.toml [--section.key VALUE ...]: train, or continue."""

import sys

from transformer.cli.main import exit_process, run

if __name__ == "__main__":
    exit_process(run("train", sys.argv[1:]))
