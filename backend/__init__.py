"""Loggia's command side, public contracts, infrastructure and HTTP surfaces."""
