"""How ranks turn their gradients into one step."""
