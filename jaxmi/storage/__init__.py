"""Networks on disk: checkpoints and run folders."""
