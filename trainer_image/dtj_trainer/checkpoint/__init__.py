"""What a job must remember, and how it is written and read at any number of ranks."""
