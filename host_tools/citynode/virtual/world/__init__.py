"""The world around the virtual boards: clock, chance, weather, WiFi and its servers."""
