"""One call's conversation: what it hears, what it says, and when."""
