"""Aggregates, their events and the rules they keep. Stands on the event-sourcing library alone."""
