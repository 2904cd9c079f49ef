"""The driver of the chip's WiFi: it joins, scans and fails as the real one."""

import pytest
from net_bench import Bench


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


def test_join_reports_as_the_driver_does(bench):
    assert (
        bench.run("""
import network, time
wlan = network.WLAN(network.STA_IF)
print(wlan is network.WLAN(), wlan.active(), wlan.status(), wlan.isconnected(), wlan.ifconfig())
try:
    wlan.connect("citynode-bench", "bochum-bench")
except OSError as error:
    print(error)
print(wlan.active(True), wlan.connect("citynode-bench", "bochum-bench"), wlan.status())
try:
    wlan.connect("citynode-bench", "bochum-bench")
except OSError as error:
    print(error)
try:
    wlan.status("rssi")
except OSError as error:
    print(error)
start = time.ticks_ms()
while not wlan.isconnected():
    time.sleep_ms(10)
print(700 < time.ticks_diff(time.ticks_ms(), start) < 2500, wlan.status(), wlan.ifconfig())
print(-66 < wlan.status("rssi") < -50, wlan.config("mac"), wlan.config("ssid"))
print(wlan.config("channel"), wlan.config("reconnects"), wlan.ipconfig("addr4"))
wlan.disconnect()
print(wlan.isconnected(), wlan.status())
print(network.WLAN(network.AP_IF).config("mac")[5], network.WLAN(1).config("ssid"))
for fn in (lambda: network.WLAN(2), lambda: wlan.config("nonsense"), lambda: wlan.status("x")):
    try:
        fn()
    except ValueError as error:
        print(error)
""")
        == """True False 1000 False ('0.0.0.0', '0.0.0.0', '0.0.0.0', '0.0.0.0')
Wifi Not Started
True None 1001
Wifi Internal State Error
Wifi Not Connected
True 1010 ('198.18.128.1', '255.255.0.0', '198.18.255.254', '198.18.255.254')
True b'$\\n\\xc4\\x00\\x01\\x04' citynode-bench
6 -1 ('198.18.128.1', '255.255.0.0')
False 1000
5 ESP_000105
invalid WLAN interface identifier
unknown config param
unknown status param
"""
    )


def test_scan_hears_what_is_audible(bench):
    bench.world.wifi.add("Nachbar", "geheim12", rssi=-80, channel=11)
    bench.world.wifi.add("", rssi=-70, hidden=True)
    bench.world.wifi.add("too far", rssi=-99)
    assert (
        bench.run("""
import network
wlan = network.WLAN()
print(errno_of(wlan.scan) is not None)
wlan.active(True)
for ssid, bssid, channel, rssi, auth, hidden in wlan.scan():
    print(ssid, len(bssid), channel, -90 < rssi < -50, auth, hidden)
""").split("\n", 1)[1]
        == """b'citynode-bench' 6 6 True 3 False
b'' 6 6 True 0 False
b'Nachbar' 6 11 True 3 False
"""
    )


@pytest.mark.parametrize(
    ("ssid", "key", "status"),
    [("citynode-bench", "wrong password", 202), ("elsewhere", "", 201)],
)
def test_failures_have_their_numbers(bench, ssid, key, status):
    assert (
        bench.run(f"""
import network, time
wlan = network.WLAN()
wlan.active(True)
wlan.config(reconnects=0)
wlan.connect({ssid!r}, {key!r})
for _ in range(300):
    if wlan.status() != network.STAT_CONNECTING:
        break
    time.sleep_ms(20)
print(wlan.status(), wlan.isconnected())
wlan.connect("citynode-bench", "bochum-bench")
print(wlan.status())
while not wlan.isconnected():
    time.sleep_ms(20)
print(wlan.status())
""")
        # What hindered the last attempt shows until there is an address.
        == f"{status} False\n{status}\n1010\n"
    )


def test_without_a_limit_the_driver_tries_for_ever(bench):
    calls = bench.upy
    calls.call("wlan.active", 0, True)
    calls.call("wlan.connect", "elsewhere", "", None)
    bench.engine.run(until=bench.engine.clock.now_ns() + 2_400_000_000)
    assert calls.call("wlan.status") == 201  # the last attempt's; the next one is under way
    bench.world.wifi.add("elsewhere")
    bench.engine.run(until=lambda: bench.wlan.up)
    assert calls.call("wlan.status") == 1010
