"""What the ranks of this pod report, and what follows: steps, stalls, phases, the metrics page."""
