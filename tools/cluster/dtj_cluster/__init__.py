"""The local test cluster: real Kubernetes parts on one machine, without a Docker engine."""
