"""`_asyncio` in Python: its tasks are due by the board's ticks, not by those of the interpreter.

What asyncio's loop (frozen, `asyncio.core`) and the port's C module agree on: a task's `state` is
True while nobody waits for it, a queue of those who do, None or False when it has ended; `data` is
what a task waits in (a queue or a task), then the exception it ended with.
"""

from time import ticks_diff, ticks_ms


class TaskQueue:
    """Tasks in the order of their times; those of the same time stay in the order they came."""

    def __init__(self):
        self._tasks = []

    def peek(self):
        return self._tasks[0] if self._tasks else None

    def push(self, task, key=None):
        task.data = None
        task.ph_key = ticks_ms() if key is None else key
        tasks = self._tasks
        place = len(tasks)
        # Most tasks are due later than what waits already: look from the end.
        while place and ticks_diff(tasks[place - 1].ph_key, task.ph_key) > 0:
            place -= 1
        tasks.insert(place, task)

    def pop(self):
        return self._tasks.pop(0)

    def remove(self, task):
        self._tasks.remove(task)


class Task:
    """A coroutine and what it waits for."""

    def __init__(self, coro, globals=None):
        self.coro = coro
        self.data = None
        self.state = True
        self.ph_key = 0
        self._loop = globals

    def __iter__(self):
        if not self.state:
            self.state = False  # who waits takes over the exception it may have ended with
        elif self.state is True:
            self.state = TaskQueue()
        elif not isinstance(self.state, TaskQueue):
            raise RuntimeError("can't wait")
        return self

    def __next__(self):
        if not self.state:
            if self.data is None:
                raise StopIteration
            raise self.data
        current = self._loop["cur_task"]
        self.state.push(current)
        # Where a cancellation of the waiting task finds the one to cancel.
        current.data = self

    def done(self):
        return not self.state

    def cancel(self):
        if not self.state:
            return False
        loop = self._loop
        if self is loop["cur_task"]:
            raise RuntimeError("can't cancel self")
        task = self
        while isinstance(task.data, Task):
            task = task.data
        queue = loop["_task_queue"]
        if hasattr(task.data, "remove"):
            task.data.remove(task)
            queue.push(task)
        elif ticks_diff(task.ph_key, ticks_ms()) > 0:
            queue.remove(task)
            queue.push(task)
        task.data = loop["CancelledError"]
        return True
