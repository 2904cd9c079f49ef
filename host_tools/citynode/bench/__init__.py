"""Work on many boards at once: flash, provision, prove it. Never asks whether one is virtual."""
