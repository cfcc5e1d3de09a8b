"""Making a local server reachable for carriers."""
