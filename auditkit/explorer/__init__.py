"""Exploring a trail in a notebook: what is chosen, what it comes to, and how it is shown."""
