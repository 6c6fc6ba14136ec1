"""The control plane: what the doors call, one function a command."""
