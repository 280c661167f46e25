"""The command `loggia`: the platform's roles, its care, and a client of its HTTP API."""
