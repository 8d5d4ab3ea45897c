"""What one open trail shares, and one consistent moment of it."""
