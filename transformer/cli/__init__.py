"""The command line: arguments, streams, exit codes."""
