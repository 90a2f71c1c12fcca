"""What runs in a worker pod: the launcher (PID 1) and the built-in trainer."""
