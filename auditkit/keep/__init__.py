"""Keeping: prune, compact, maintain."""
