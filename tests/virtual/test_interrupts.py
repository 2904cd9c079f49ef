"""Soft interrupts, threads and Ctrl-C of a board in real time: each comes, and none stops it."""

import pytest
from repl_bench import RAW


def test_handlers_of_interrupts_fail_on_their_own(terminal):
    assert terminal.run(
        """
import machine, time
def fails(_):
    raise ValueError("no")
calls = []
machine.Timer(0).init(mode=machine.Timer.ONE_SHOT, period=5, callback=fails)
machine.Timer(1).init(mode=machine.Timer.ONE_SHOT, period=15, callback=calls.append)
time.sleep_ms(60)
print(len(calls))
"""
    ) == (
        'Traceback (most recent call last):\n  File "<stdin>", line 4, in fails\n'
        "ValueError: no\n1\n"
    )


RAPID = """
import machine
timers = [machine.Timer(number) for number in range(4)]
for timer in timers:
    timer.init(period=1, callback=lambda _: None)
"""


def test_threads_and_interrupts_share_the_hardware(terminal):
    said = terminal.run(
        """
import machine, time, _thread
count = [0, 0, 0]
go = [True]
def other():
    pin = machine.Pin(5, machine.Pin.OUT)
    while go:
        pin.toggle()
        count[0] += 1
def tick(_):
    count[1] += machine.Pin(4).value() + 1
machine.Timer(0).init(period=3, callback=tick)
_thread.start_new_thread(other, ())
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < 600:
    machine.unique_id()
    bytes(300)
    count[2] += 1
go.clear()
machine.Timer(0).deinit()
time.sleep_ms(30)
print(all([n > 2 for n in count]) or count)
"""
    )
    assert said == "True\n"


def test_threads_begin_while_interrupts_come(terminal):
    said = terminal.run(
        RAPID
        + """
import _thread, time
ended = [0]
def work():
    ended[0] += 1
for number in range(200):
    _thread.start_new_thread(work, ())
    while ended[0] <= number:
        time.sleep_us(50)
for timer in timers:
    timer.deinit()
print(ended)
"""
    )
    assert said == "[200]\n"


def test_many_interrupts_come_while_a_program_computes(terminal):
    said = terminal.run(
        """
import machine, time
ticks = 0
def tick(_):
    global ticks
    ticks += 1
for number in range(4):
    machine.Timer(number).init(period=1, callback=tick)
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < 2000:
    bytes(300)
for number in range(4):
    machine.Timer(number).deinit()
print(ticks > 1000 or ticks)
"""
    )
    assert said == "True\n"


def test_interrupts_come_between_the_work_of_the_file_system(fresh):
    said = fresh().run(
        """
import machine, time
ticks = 0
def tick(_):
    global ticks
    ticks += 1
    with open("ticks", "a") as f:
        f.write("%d\\n" % ticks)
timer = machine.Timer(0)
timer.init(period=7, callback=tick)
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < 1000:
    with open("main", "w") as f:
        for _ in range(5):
            f.write("x" * 200)
    assert len(open("main").read()) == 1000
timer.deinit()
time.sleep_ms(20)
print(ticks > 70 or ticks)
print(open("ticks").read() == "".join("%d\\n" % (n + 1) for n in range(ticks)))
"""
    )
    assert said == "True\nTrue\n"


def test_disabled_interrupts_wait_and_other_threads_too(terminal):
    said = terminal.run(
        """
import machine, time, _thread
came, ended = [], [0]
machine.Timer(0).init(period=5, callback=came.append)
outer, inner = machine.disable_irq(), machine.disable_irq()
start = time.ticks_ms()
while time.ticks_diff(time.ticks_ms(), start) < 40:
    machine.unique_id()
machine.enable_irq(inner)
print(len(came))
machine.enable_irq(outer)
time.sleep_ms(20)
machine.Timer(0).deinit()
print(len(came) > 1)
count = 0
def work():
    global count
    for _ in range(500):
        state = machine.disable_irq()
        try:
            before = count
            machine.unique_id()
            count = before + 1
        finally:
            machine.enable_irq(state)
    ended[0] += 1
_thread.start_new_thread(work, ())
work()
while ended[0] < 2:
    time.sleep_ms(1)
print(count)
"""
    )
    assert said == "0\nTrue\n1000\n"


BESIDE = """
import _thread, time
beside = [1]
def other():
    while beside:
        bytes(300)
        time.sleep_us(20)  # else it may keep the interpreter's locks to itself for seconds
_thread.start_new_thread(other, ())
"""


@pytest.mark.parametrize("other", [RAPID, BESIDE], ids=["interrupts", "a thread"])
def test_ctrl_c_ends_the_program_whatever_else_goes_on(terminal, other):
    """Each time: it may come in the middle of what the chip does for an interrupt, or in a wait."""
    terminal.run(other)
    waits = "import socket\ns = socket.socket()\ns.bind(('', 0))\ns.listen(1)\ns.accept()"
    for number in range(15):
        terminal.type(b"\x01", RAW)
        terminal.app.feed((waits if number % 5 == 4 else "while True: bytes(200)").encode())
        terminal.app.feed(b"\x04")
        terminal.pause(0.03)
        assert b"KeyboardInterrupt" in terminal.type(b"\x03", b"\x04>")
    said = terminal.run(
        "for timer in timers: timer.deinit()" if other == RAPID else "beside.clear()"
    )
    assert said == ""
