"""Small replaceable decisions, each a plain object that fits a Protocol of ``core/ports.py``."""
