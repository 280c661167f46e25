"""The OpenAI-compatible gateway: keys, routes and streams between consumers and engines."""
