"""Engines that listen and speak by themselves."""
