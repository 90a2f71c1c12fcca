"""One incarnation on this pod: round after round, and how each ends."""
