"""A simulated firm: who works there, what an ordinary week looks like, and three incidents hidden in it."""
