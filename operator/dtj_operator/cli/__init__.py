"""The commands of the operator image."""
