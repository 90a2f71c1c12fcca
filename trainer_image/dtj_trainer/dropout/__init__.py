"""Dropout that every sample draws for itself, so that the loss does not depend on how samples are dealt to ranks."""
