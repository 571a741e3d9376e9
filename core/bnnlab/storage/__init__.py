"""What a run leaves on disk: its folder, log and checkpoints. No torch."""
