"""The mock carrier: real calls without a telephone network."""
