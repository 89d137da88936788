"""Wiring: which adapter serves which port, and what each command of the tool does."""
