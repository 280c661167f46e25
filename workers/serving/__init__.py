"""The deploy worker: makes running engines match what deployments ask for."""
