"""Speech engines: recognition, synthesis and voice activity."""
