"""The commands, one per file: parse the arguments, call the library, print. The table is COMMANDS in cli/main.py."""
