"""python -m transformer COMMAND ..."""

import sys

from transformer.commands.main import main

sys.exit(main(sys.argv[1:]))
