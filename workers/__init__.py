"""Long-running work: each worker claims jobs and reports results as commands."""
