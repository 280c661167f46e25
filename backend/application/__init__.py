"""Use cases: load an aggregate, let it decide, save its events in one transaction."""
