"""The media plane: sockets, the ticker, and the audio of every call."""
