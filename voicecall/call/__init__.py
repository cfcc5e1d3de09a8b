"""The domain: what a call is and what can become of it. No I/O, no clock."""
