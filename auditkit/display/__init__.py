"""How tables and cards look: in a terminal, a notebook, a report."""
