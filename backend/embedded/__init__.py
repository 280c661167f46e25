"""Everything `loggia up` brings along: PostgreSQL, a Kafka-protocol broker, and their supervisor."""
