"""The words that the operator and the trainer image share.

Everything two images must agree on is a name or a model here: labels, environment, ports, conditions, reasons, exit
codes, metric names, the manifest's models and the messages on the wire. This package imports pydantic at most;
`names` and `wire` import the standard library only, since the launcher is copied into foreign images.
"""
