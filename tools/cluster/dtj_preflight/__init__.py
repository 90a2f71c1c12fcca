"""The one preflight: what a machine must have and reach, asked in seconds before anything is downloaded or made.

It runs before there is an environment, so it is the standard library's alone. Each fault comes with the command that
mends it; all are told at once, so that nobody meets the second after minutes of work on the first.
"""
