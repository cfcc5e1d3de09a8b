"""Simulated model services: what real clients connect to when no vendor is to be asked."""
