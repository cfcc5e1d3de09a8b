"""What a live call needs, looked at one by one, and what mends it where something is missing."""
