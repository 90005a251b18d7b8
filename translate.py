"""python translate.py --model DIR [-i FILE] [-o FILE] [...]: lines in, lines out."""

import sys

from transformer.cli.main import leave, run

if __name__ == "__main__":
    leave(run("translate", sys.argv[1:]))
