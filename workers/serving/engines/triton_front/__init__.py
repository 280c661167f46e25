"""Stands before a Triton server and gives it the endpoint that every replica has.

Runs in the engine's environment, beside the server that it starts: so it imports nothing of the
application and, of others, only what comes with Triton's client.
"""
