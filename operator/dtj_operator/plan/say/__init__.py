"""What is said of a job that goes on: its phase, its conditions, and what is worth an event."""
