"""Turn-taking, memory and sentences: pure rules, no I/O and no clock."""
