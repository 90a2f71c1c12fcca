"""The operator: watches DistributedTrainingJobs and makes the cluster what they ask for. Never imports torch."""
