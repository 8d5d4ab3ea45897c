"""Keeping: how long events stay, decided once and computed from the trail alone."""

from auditkit.homes import names_from

__getattr__ = names_from(__name__, {"plan": "auditkit.keep.plan"})
