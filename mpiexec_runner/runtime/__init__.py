"""The shell around the core: hub loop, interpreter, worker loop, heartbeat sender."""
