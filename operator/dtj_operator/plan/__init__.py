"""What should be: `plan(view)` turns one picture of a job into the status, the actions and the events that are due.

Pure: no clock, no I/O. `reconcile` is the whole story in one function; each policy is a file named by the API's field.
"""
