from auditkit.keep import plan as plan
