"""Builds what tests feed to the product: real, tiny models."""
