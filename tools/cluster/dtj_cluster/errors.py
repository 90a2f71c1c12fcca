"""What a user of the cluster can mend is a `ClusterError`: the command line prints its text and no traceback."""


class ClusterError(RuntimeError):
    """Something a user can mend; the text says what was found and what to do."""
