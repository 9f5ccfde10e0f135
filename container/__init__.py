"""What runs in the container before and around the command. Standard library only: it starts at once."""
