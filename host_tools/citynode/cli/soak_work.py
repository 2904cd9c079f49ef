"""One shard of a soak in virtual time, wherever it runs: the cell of a city that the plan wants."""

from dataclasses import replace

from citynode.soak import runner
from citynode.soak.schedule import draw
from citynode.soak.shards import Events, Look, Outcome, Shard
from citynode.soak.site import Site
from citynode.virtual.site.city import City


def work(shard: Shard, look: Look) -> Outcome:
    """Run a shard; raises CitynodeError."""
    city = City(shard.plan, shard.seed, shard.cell)
    return replace(run_shard(shard, city, look), software=city.software)


def run_shard(shard: Shard, site: Site, look: Look) -> Outcome:
    """Run a shard at a site; raises CitynodeError."""
    plan, seed, cell = shard.plan, shard.seed, shard.cell
    events = Events() if shard.logged else None
    run = runner.run(
        plan,
        seed,
        site,
        draw(plan, seed, cell),
        cell=cell,
        command=shard.command,
        look=look,
        log=None if events is None else events.write,
    )
    return Outcome(run.to_json(), b"" if events is None else events.finish())
