"""The public event contract: protobuf messages, CloudEvents headers, and the border to private events."""
