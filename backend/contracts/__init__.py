"""The public event contract: protobuf messages and CloudEvents headers."""
