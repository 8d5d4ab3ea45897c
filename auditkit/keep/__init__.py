"""Keeping: how long events stay, decided once and computed from the trail alone."""
