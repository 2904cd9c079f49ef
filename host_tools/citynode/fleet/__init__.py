"""Many nodes: what network servers have to know of them, and what they tell."""
