"""How one task runs: inline, in a child process, as a command."""
