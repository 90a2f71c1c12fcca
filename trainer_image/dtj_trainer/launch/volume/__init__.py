"""The shared volume, tried before ranks start."""
