"""Consumers: events one by one, redelivery, dead letters."""
