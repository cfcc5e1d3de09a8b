"""The control plane: webhooks, RPC, live events and health over HTTP."""
