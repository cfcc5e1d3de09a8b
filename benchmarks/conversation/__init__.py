"""How fast the bot answers, and how many conversations this machine holds."""
