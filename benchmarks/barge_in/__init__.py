"""How well the bot tells whether a caller means to interrupt it, and how fast it falls silent."""
