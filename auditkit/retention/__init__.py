"""How long events stay: pure rules, no disk, no clock."""
