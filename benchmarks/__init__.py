"""Benchmarks: tasks a second, latency, memory, idle load and the journal, side by side with others.

``python -m benchmarks`` runs them; README.md says what is measured and how.
"""
