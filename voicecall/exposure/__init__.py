"""Making a local server reachable for carriers.

`plan` says what the configuration asks for, `ngrok` and `tailscale` each hold one way open, and
`exposure` keeps it open for as long as the server runs. Nothing is called reachable before the
agent that makes it so has said it is.
"""
