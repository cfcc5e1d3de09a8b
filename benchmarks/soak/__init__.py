"""Soak runs: a server under churn for a long time, and ten thousand calls from start to end."""
