"""What this machine has and lacks for the work; looks only, changes nothing, and always ends."""
