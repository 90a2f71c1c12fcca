"""The ranks of this pod: from the template's command to processes, their output and their errors."""
