"""Measured evidence: scripts, their results, and the pages that show them."""
