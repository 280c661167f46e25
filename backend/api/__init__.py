"""The HTTP API: parse, call one command or one query, answer."""
