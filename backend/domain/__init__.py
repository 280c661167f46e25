"""Aggregates, their events and the rules they keep. Knows nothing but the event-sourcing library."""
