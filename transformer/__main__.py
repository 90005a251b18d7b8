"""python -m transformer COMMAND ..."""

import sys

from transformer.commands.main import leave, main

leave(main(sys.argv[1:]))
