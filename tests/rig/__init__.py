"""Real parts for tests: PostgreSQL, a broker, and the whole platform, each on free ports."""
