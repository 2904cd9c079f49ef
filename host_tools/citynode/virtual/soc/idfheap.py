"""ESP-IDF's heap beside MicroPython's, as `esp32.idf_heap_info` reports it.

Nothing on a virtual board takes from it: the figures are typical ones after the start.
"""

from citynode.virtual.soc.rpc import Value

# Capabilities (MALLOC_CAP_8BIT and what comes with it, MALLOC_CAP_EXEC), then total, free and
# largest free block of each region, in bytes.
_DATA, _CODE = 0x180E, 0x1803
_REGIONS = {
    "esp32": (
        (_DATA, 7_288, 0, 0),
        (_DATA, 16_648, 2_040, 1_972),
        (_DATA, 93_512, 41_260, 40_960),
        (_DATA | _CODE, 15_072, 15_036, 14_848),
        (_DATA | _CODE, 113_840, 81_636, 79_872),
        (_CODE, 64_044, 62_936, 61_440),
    ),
    "esp32s3": (
        (_DATA | _CODE, 230_812, 148_372, 143_360),
        (_DATA, 21_512, 21_016, 20_480),
        (_DATA, 32_768, 31_232, 30_720),
        (_CODE, 7_440, 6_884, 6_656),
        (_CODE, 16_384, 15_880, 15_360),
    ),
    "esp32c3": (
        (_DATA | _CODE, 163_440, 98_120, 94_208),
        (_DATA | _CODE, 53_248, 52_736, 51_200),
        (_DATA | _CODE, 8_160, 7_952, 7_680),
    ),
}


def heap_regions(chip_id: str, capabilities: int) -> Value:
    """Return total, free, largest free block and least free so far of the regions that have all."""
    return [
        [total, free, largest, largest]
        for has, total, free, largest in _REGIONS[chip_id]
        if capabilities & ~has == 0
    ]
