"""What a training leaves behind: the run folder, checkpoints, sweeps."""
