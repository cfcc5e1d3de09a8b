"""Live calls: one actor each, one manager for all."""
