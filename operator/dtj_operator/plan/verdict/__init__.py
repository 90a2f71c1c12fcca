"""Whether the job goes on: it is suspended, it ends, or it fails; and how it does that."""
