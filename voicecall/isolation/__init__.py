"""What keeps one call's trouble from the others: code of strangers, pauses, and who is to blame."""
