"""What an operator does: import and export through the client, backup and restore."""
