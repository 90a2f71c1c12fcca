"""Where launchers meet: who takes part in a round, who beats, who is in a phase."""
