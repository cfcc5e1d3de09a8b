"""Carriers: what each one's webhooks, media sockets and REST API look like."""
