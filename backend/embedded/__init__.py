"""What `loggia up` brings along: PostgreSQL, a Kafka-protocol broker, their supervisor."""
