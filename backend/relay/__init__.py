"""Carries events from the event store to Kafka, in order and without holes."""
