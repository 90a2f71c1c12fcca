"""Launchers without a cluster: `dtj run`."""
