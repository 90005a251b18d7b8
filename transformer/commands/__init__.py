"""The commands, one file each: they parse arguments, call the library and print. COMMANDS in cli/main.py lists them."""
