"""The board's task queue against the interpreter's own: asyncio must not see a difference."""

import subprocess

import pytest
from citynode.resources import micropython, upy

_OWN = """
import sys
sys.path.insert(0, {core!r})
import _tasks
sys.modules["_asyncio"] = _tasks
sys.path.pop(0)
"""

PROGRAMS = {
    "order": """
async def worker(name, ms):
    for i in range(3):
        print(name, i)
        await asyncio.sleep_ms(ms)
    return name
async def main():
    tasks = [asyncio.create_task(worker(n, ms)) for n, ms in (("a", 20), ("b", 50), ("c", 20))]
    for task in tasks:
        print("got", await task, task.done())
    print(await asyncio.gather(worker("d", 60), worker("e", 3)))
""",
    "results": """
async def fails():
    await asyncio.sleep_ms(1)
    raise ValueError("no")
async def nothing():
    pass
async def main():
    task = asyncio.create_task(fails())
    try:
        await task
    except ValueError as error:
        print(error)
    print(await asyncio.gather(fails(), nothing(), return_exceptions=True))
    done = asyncio.create_task(nothing())
    await asyncio.sleep_ms(5)
    print(done.done(), await done, done.cancel())
    async def nap():
        await asyncio.sleep_ms(10)
    waited = asyncio.create_task(nap())
    async def wait(n):
        await waited
        print("after", n)
    await asyncio.gather(wait(1), wait(2), wait(3))
""",
    "cancel": """
async def sleeper(ms):
    try:
        await asyncio.sleep_ms(ms)
    except asyncio.CancelledError:
        print("cancelled")
        raise
    finally:
        print("finally")
async def outer(ms):
    await asyncio.create_task(sleeper(ms))
async def stubborn():
    try:
        await asyncio.sleep(10)
    except asyncio.CancelledError:
        print("no")
    return 5
async def main():
    for make in (sleeper, outer):
        task = asyncio.create_task(make(5000))
        await asyncio.sleep_ms(5)
        print(task.cancel())
        try:
            await task
        except asyncio.CancelledError:
            print("main saw it")
    task = asyncio.create_task(sleeper(5000))
    task.cancel()
    await asyncio.sleep_ms(0)
    await asyncio.sleep_ms(0)
    print(task.done())
    task = asyncio.create_task(stubborn())
    await asyncio.sleep_ms(1)
    task.cancel()
    print(await task)
    try:
        asyncio.current_task().cancel()
    except RuntimeError as error:
        print(error)
    try:
        await asyncio.wait_for_ms(sleeper(5000), 10)
    except asyncio.TimeoutError:
        print("timeout")
    print(await asyncio.wait_for(stubborn_quick(), 1))
async def stubborn_quick():
    return "quick"
""",
    "locks": """
lock = asyncio.Lock()
event = asyncio.Event()
flag = asyncio.ThreadSafeFlag()
async def holder(n):
    async with lock:
        print("in", n)
        await asyncio.sleep_ms(5)
        print("out", n)
async def waiter(n):
    await event.wait()
    print("event", n)
async def main():
    await asyncio.gather(holder(1), holder(2), holder(3))
    waiters = [asyncio.create_task(waiter(n)) for n in range(3)]
    blocked = asyncio.create_task(waiter(9))
    await asyncio.sleep_ms(1)
    blocked.cancel()
    event.set()
    await asyncio.gather(*waiters)
    async def later():
        await asyncio.sleep_ms(5)
        flag.set()
    asyncio.create_task(later())
    await flag.wait()
    print("flag")
""",
}


def run(prelude, program):
    script = prelude + "import asyncio\n" + program + "asyncio.run(main())\n"
    done = subprocess.run(
        [micropython(), "-c", script], capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_as_the_interpreters_own(name):
    expected = run("", PROGRAMS[name])
    assert "Traceback" not in expected
    assert run(_OWN.format(core=str(upy() / "core")), PROGRAMS[name]) == expected
