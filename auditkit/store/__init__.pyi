from auditkit.store import filters as filters
