"""The folder that `auditkit record` puts on a program's PYTHONPATH; nothing here may import auditkit."""
