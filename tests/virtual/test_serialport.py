import contextlib
import os
import socket
import threading
import time

import pytest
import serial
from citynode.errors import CitynodeError
from citynode.virtual.engine import Engine
from citynode.virtual.soc.autoreset import AutoReset
from citynode.virtual.soc.pace import Lane
from citynode.virtual.soc.rfc2217 import Settings
from citynode.virtual.soc.serialport import SerialPort

pytestmark = [
    pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:setName:DeprecationWarning"),
]


class Echo:
    """A board that sends back what it gets and remembers what its pins did."""

    def __init__(self):
        self.port = None
        self.settings = Settings()
        self.lines = []
        self.breaks = []
        self.got = bytearray()
        self.echo = True

    def receive(self, data, settings):
        self.got += data
        if self.echo:
            self.port.transmit(data, self.settings)

    def set_lines(self, *, dtr, rts):
        self.lines.append((dtr, rts))

    def set_break(self, on):
        self.breaks.append(on)


class Bench:
    def __init__(self, engine, paced=False):
        self.engine = engine
        self.board = Echo()
        self.board.port = self.port = SerialPort(engine, self.board, paced=paced)

    def call(self, fn):
        done = threading.Event()
        result = []

        def run():
            result.append(fn())
            done.set()

        self.engine.call_soon_threadsafe(run)
        assert done.wait(10)
        return result[0]


@contextlib.contextmanager
def running(paced=False):
    engine = Engine()
    bench = Bench(engine, paced)
    thread = threading.Thread(target=engine.run)
    thread.start()
    try:
        yield bench
    finally:
        bench.call(bench.port.close)
        engine.stop()
        thread.join()
        watched = set(engine._handlers)
        engine.close()
    assert len(watched) == 1, "the port left descriptors behind"


@contextlib.contextmanager
def pyserial(url, **kwargs):
    with serial.serial_for_url(url, timeout=5, **{"baudrate": 115200, **kwargs}) as port:
        yield port


def url(bench):
    number = bench.call(lambda: bench.port.tcp.port if bench.port.tcp else bench.port.listen(0))
    return f"rfc2217://127.0.0.1:{number}"


def eventually(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestRfc2217:
    def test_pyserial_opens_every_time(self):
        with running() as bench:
            for _ in range(15):
                with pyserial(url(bench)) as port:
                    port.write(b"?")
                    assert port.read(1) == b"?"

    def test_pyserial_opens_sets_and_moves_every_byte(self):
        payload = bytes(range(256)) * 64
        with running() as bench, pyserial(url(bench)) as port:
            port.write(payload)
            assert port.read(len(payload)) == payload
            port.baudrate = 921600
            bench.board.settings = Settings(baud=921600)
            port.write(b"fast")
            assert port.read(4) == b"fast"
            port.parity = serial.PARITY_EVEN
            port.bytesize = 7
            port.stopbits = 2
            port.break_condition = True
            port.break_condition = False
            assert bench.board.breaks == [True, False]
            assert port.cts is False

    def test_lines_follow_the_client_and_drop_together_when_it_leaves(self):
        with running() as bench:
            with pyserial(url(bench)) as port:
                port.rts = False
                port.dtr = False
                port.dtr = True
            eventually(lambda: bench.board.lines[-1] == (False, False))
            assert bench.board.lines == [
                (True, False),
                (True, True),
                (True, False),
                (False, False),
                (True, False),
                (False, False),
            ]

    def test_second_client_is_refused_and_the_first_keeps_working(self):
        with running() as bench, pyserial(url(bench)) as port:
            number = bench.port.tcp.port
            with socket.create_connection(("127.0.0.1", number), timeout=5) as second:
                text = b""
                while data := second.recv(100):
                    text += data
            assert b"in use" in text
            port.write(b"still here")
            assert port.read(10) == b"still here"

    def test_next_client_is_served_though_the_last_left_unread_data(self):
        with running() as bench:
            bench.board.echo = False
            address = ("127.0.0.1", int(url(bench).rsplit(":", 1)[1]))
            for number in range(20):
                with socket.create_connection(address, timeout=5) as client:
                    assert client.recv(3)[:1] == b"\xff"
                    client.sendall(b"%d," % number)
            eventually(lambda: bench.board.got.endswith(b"19,"))
            assert bench.board.got == b"".join(b"%d," % number for number in range(20))

    def test_other_speed_is_garbage_and_the_right_one_is_not(self):
        with running() as bench, pyserial(url(bench), baudrate=9600) as port:
            port.timeout = 0.2
            bench.call(lambda: bench.port.transmit(b"boot", Settings()))
            assert port.read(100) != b"boot"
            port.baudrate = 115200
            bench.call(lambda: bench.port.transmit(b"boot", Settings()))
            assert port.read(4) == b"boot"

    def test_reader_that_does_not_read_loses_bytes_but_stops_nobody(self):
        with running() as bench:
            number = int(url(bench).rsplit(":", 1)[1])
            with socket.create_connection(("127.0.0.1", number), timeout=5) as client:
                client.recv(3)
                bench.call(lambda: None)
                for _ in range(16):
                    bench.call(lambda: bench.port.transmit(bytes(1 << 20), Settings()))
                assert bench.call(lambda: len(bench.port.tcp._data)) <= 1 << 20

    def test_output_before_anybody_listens_is_lost(self):
        with running() as bench:
            address = url(bench)
            bench.call(lambda: bench.port.transmit(b"early", Settings()))
            with pyserial(address) as port:
                port.write(b"late")
                assert port.read(4) == b"late"

    def test_port_in_use_is_named_with_its_cure(self):
        with running() as bench, socket.create_server(("127.0.0.1", 0)) as taken:
            number = taken.getsockname()[1]
            with pytest.raises(CitynodeError, match=str(number)) as caught:
                SerialPort(bench.engine, bench.board, paced=False).listen(number)
            assert "--base-port" in caught.value.cure


class TestPty:
    def test_opens_closes_and_opens_again_without_old_bytes(self, tmp_path):
        with running() as bench:
            link = bench.call(lambda: bench.port.open_pty(tmp_path / "pty" / "board-0"))
            with pyserial(str(link)) as port:
                port.write(bytes(range(256)))
                assert port.read(256) == bytes(range(256))
                port.write(b"unread")
                eventually(lambda: port.in_waiting == 6)
            eventually(lambda: not bench.port.pty._open)
            bench.call(lambda: bench.port.transmit(b"nobody hears this", Settings()))
            with open(link, "r+b", buffering=0) as raw:
                raw.write(b"again\r\n")
                assert raw.read(100) == b"again\r\n"
            assert bench.board.lines == []
        assert not link.is_symlink()

    def test_last_words_before_closing_arrive(self, tmp_path):
        with running() as bench:
            link = bench.call(lambda: bench.port.open_pty(tmp_path / "board"))
            for _ in range(10):
                with open(link, "wb", buffering=0) as raw:
                    raw.write(b"x")
            eventually(lambda: bench.board.got == b"x" * 10)

    def test_reader_that_does_not_read_blocks_nobody(self, tmp_path):
        with running() as bench:
            link = bench.call(lambda: bench.port.open_pty(tmp_path / "board"))
            with open(link, "r+b", buffering=0) as raw:
                for _ in range(4):
                    bench.call(lambda: bench.port.transmit(bytes(1 << 20), Settings()))
                bench.call(lambda: bench.port.drop_output())
                assert len(raw.read(1000)) > 0

    def test_speed_of_the_terminal_is_the_speed_of_the_line(self, tmp_path):
        with running() as bench:
            link = bench.call(lambda: bench.port.open_pty(tmp_path / "board"))
            with pyserial(str(link), baudrate=9600) as port:
                port.timeout = 0.2
                bench.call(lambda: bench.port.transmit(b"boot", Settings()))
                assert port.read(100) != b"boot"
                port.baudrate = 921600
                bench.call(lambda: bench.port.transmit(b"boot", Settings(baud=921600)))
                assert port.read(4) == b"boot"

    def test_idle_terminal_costs_no_time(self, tmp_path):
        with running() as bench:
            bench.call(lambda: bench.port.open_pty(tmp_path / "board"))
            before = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - before < 0.25

    def test_symlink_of_another_is_replaced_but_not_removed(self, tmp_path):
        link = tmp_path / "board"
        link.symlink_to("/nowhere")
        with running() as bench:
            bench.call(lambda: bench.port.open_pty(link))
            assert os.readlink(link) != "/nowhere"
            link.unlink()
            link.symlink_to("/somebody")
        assert os.readlink(link) == "/somebody"


class TestPace:
    def test_bytes_take_ten_bits_each(self):
        engine = Engine()
        seen = []
        lane = Lane(engine, lambda data, _: seen.append((engine.clock.now_ns(), data)), paced=True)
        start = engine.clock.now_ns()
        lane.send(bytes(576), Settings(baud=57600))
        idle = []
        lane.when_idle(lambda: idle.append(engine.clock.now_ns() - start))
        engine.run(until=lambda: bool(idle))
        assert sum(len(data) for _, data in seen) == 576
        assert idle[0] >= 100_000_000
        for when, _ in seen:
            arrived = sum(len(data) for at, data in seen if at <= when)
            assert arrived * 10 / 57600 <= (when - start) / 1e9 + 1e-6
        engine.close()

    def test_paced_port_slows_the_tool_down(self):
        with running(paced=True) as bench, pyserial(url(bench), baudrate=460800) as port:
            bench.board.settings = Settings(baud=460800)
            start = time.monotonic()
            port.write(bytes(23040))
            assert len(port.read(23040)) == 23040
            assert time.monotonic() - start >= 0.5

    def test_purge_drops_what_has_not_reached_the_board(self):
        with running(paced=True) as bench, pyserial(url(bench), baudrate=9600) as port:
            port.write(bytes(3000))
            port.reset_output_buffer()
            assert bench.call(lambda: bench.port._to_board.pending) == 0
            assert len(bench.board.got) < 3000


class TestAutoReset:
    def history(self, *steps):
        """Apply (dtr, rts, seconds) steps and return what the chip saw."""
        engine = Engine()
        seen = []
        circuit = AutoReset(engine, lambda held: seen.append("low" if held else latch()))

        def latch():
            return "download" if circuit.io0_low else "boot"

        for dtr, rts, seconds in steps:
            circuit.set_lines(dtr=dtr, rts=rts)
            engine.run(until=engine.clock.now_ns() + round(seconds * 1e9))
        engine.close()
        return seen

    def test_opening_and_closing_a_port_resets_nothing(self):
        assert self.history((True, False, 0.05), (True, True, 0.05), (False, False, 0.05)) == []
        assert self.history((True, True, 0), (True, False, 0.05), (False, False, 0.05)) == []

    def test_classic_reset_enters_download_mode_though_each_step_is_slow(self):
        steps = ((False, True, 0.15), (True, True, 0.15), (True, False, 0.1), (False, False, 0.01))
        assert self.history((True, True, 0), *steps) == ["low", "download"]

    def test_tight_reset_enters_download_mode(self):
        steps = ((False, True, 0.02), (True, False, 0.01), (False, False, 0.01))
        assert self.history((False, False, 0), (True, True, 0), *steps) == ["low", "download"]

    def test_hard_reset_boots(self):
        assert self.history((False, True, 0.02), (False, False, 0.02)) == ["low", "boot"]

    def test_both_asserted_let_the_chip_go_in_the_end(self):
        assert self.history((False, True, 0.01), (True, True, 1.1)) == ["low", "boot"]
