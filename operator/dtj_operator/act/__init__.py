"""From a plan to API calls: the status first, then the actions in their order, events last."""
