"""Where call records are kept."""
