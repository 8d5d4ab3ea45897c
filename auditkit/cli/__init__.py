"""The `auditkit` command: each subcommand in the module of its theme, loaded when it is called."""
