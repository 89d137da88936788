"""What is durable: journal, checkpoints, results, blobs, the run directory and its lease."""
