"""How good the peers are, together and beside each other. Metrics never touch what they measure."""
