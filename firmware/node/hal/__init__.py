"""The hardware: the only folder that imports machine, network and esp32."""
