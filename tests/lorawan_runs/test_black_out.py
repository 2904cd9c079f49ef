"""Two hundred nodes whose power comes back at once, with no session left: the node's own MAC."""

import math
from collections import Counter

from air_node import JOIN_EUI, Node, WorldTime
from citynode.virtual.air import Air, Gateway
from citynode.virtual.air.network import Network
from node.lorawan.actions import Joined
from run_site import HOUR, NS, AirTime, airtime_ns

NODES = 200
RADIUS_M = 3000


def test_two_hundred_nodes_join_after_a_black_out():
    time = WorldTime(seed=4)
    air = Air(time)
    airtime = AirTime(air)
    gateway = Gateway(air, "gateway-1")
    network = Network(time)
    network.attach(gateway)
    places = time.rng("places")
    nodes = [Node(air, number, spread_ms=20_000) for number in range(NODES)]
    for node in nodes:
        angle, distance = places.uniform(0, 2 * math.pi), RADIUS_M * math.sqrt(places.random())
        air.links.place(node.name, distance * math.cos(angle), distance * math.sin(angle))
        network.register(node.dev_eui, JOIN_EUI, node.app_key, name=node.name)
    air.links.place(gateway.name, 0, 0)
    for node in nodes:
        node.do(node.mac.join(0))
    joined_at = []
    while time.now_ns() < HOUR:
        time.advance(NS)
        joined_at += [time.now_ns()] * (
            sum(bool(node.of(Joined)) for node in nodes) - len(joined_at)
        )
    requests = sum(map(len, airtime.frames.values()))
    lost = Counter(event.reason for event in airtime.missed if event.receiver == gateway.name)
    print(
        f"\n{requests} requests of {NODES} nodes in the first hour; not heard: {dict(lost)};"
        f" half of them joined after {joined_at[NODES // 2 - 1] // NS} s, all after"
        f" {joined_at[-1] // NS} s"
    )
    assert len(joined_at) == NODES
    assert len({node.mac.session.dev_addr for node in nodes}) == NODES
    assert joined_at[-1] < HOUR
    assert lost["collision"]  # or they were not on the same air
    for node in nodes:
        airtime.keeps_duty_cycle(node.name)
        assert airtime_ns(airtime.frames[node.name]) < 36 * NS
