"""What each vendor says about an account: one module a vendor, each with one harmless question."""
