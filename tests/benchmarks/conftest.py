"""What lies here is run by its own drivers, not collected."""

collect_ignore = ["auditkit_peer.py"]
