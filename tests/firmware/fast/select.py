"""`select` in virtual time: nothing ever comes from outside, so a wait lasts its whole time."""

import _clock

POLLIN, POLLOUT, POLLERR, POLLHUP = 1, 4, 8, 16


class poll:  # noqa: N801
    def register(self, obj, eventmask=POLLIN | POLLOUT):
        self._obj = obj

    def unregister(self, obj):
        self._obj = None

    def modify(self, obj, eventmask):
        self._obj = obj

    def poll(self, timeout=-1):
        """Return what the registered socket says of itself."""
        return [(self._obj, self._obj.events)] if self._obj.events else []

    def ipoll(self, timeout=-1, flags=0):
        if timeout < 0:
            raise RuntimeError("every task waits, and nothing will ever wake one")
        _clock.advance_us(timeout * 1000)
        return ()
