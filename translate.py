"""python translate.py --model DIR [-i FILE] [-o FILE] [...]: lines in, lines out."""

import sys

from transformer.commands.main import run

if __name__ == "__main__":
    sys.exit(run("translate", sys.argv[1:]))
