"""What a node does, without knowing on which hardware."""
