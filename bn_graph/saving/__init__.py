"""What a run leaves behind: checkpoints, exports, event files and pictures; and how a run is restored."""
