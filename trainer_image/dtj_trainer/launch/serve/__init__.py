"""The servers of a launcher: control, report and metrics, and the ranks' socket."""
