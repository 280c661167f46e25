"""The process between the gateway and an Ollama server, one for each replica."""
