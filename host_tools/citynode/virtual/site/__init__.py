"""A virtual place for soaks: boards with the firmware, their gateway, network and broker."""
