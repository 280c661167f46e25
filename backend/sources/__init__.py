"""Where models come from outside: guarded fetching, and what an address, a path or a hub offers."""
