"""Language models and what stands in for them: who decides what the bot says."""
