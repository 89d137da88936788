"""Frozen records that cross the seams: tasks, workers, events, commands, messages. No behaviour."""
