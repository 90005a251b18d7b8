"""python translate.py --model DIR [-i FILE] [-o FILE] [...]: lines in, lines out."""

import sys

from transformer.cli.main import exit_process, run

if __name__ == "__main__":
    exit_process(run("translate", sys.argv[1:]))
