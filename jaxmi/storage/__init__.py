"""Networks and runs on disk: checkpoints, run folders, foreign layouts, atomic writes."""
