"""Twilio Programmable Voice and Media Streams."""
