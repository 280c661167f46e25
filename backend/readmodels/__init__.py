"""Queries over the tables that the projections keep."""
