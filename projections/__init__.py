"""Read models: pure folds over events, and what keeps them up to date in PostgreSQL."""
