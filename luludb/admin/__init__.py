"""What an operator does, through the client: import and export."""
