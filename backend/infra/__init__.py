"""PostgreSQL, Kafka, object storage, jobs and settings: wiring without business rules."""
