import pytest
from citynode.errors import CitynodeError
from citynode.virtual.soc.flash import SECTOR_SIZE, NorFlash
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = 64 * 1024


@pytest.fixture
def flash(tmp_path):
    flash = NorFlash(tmp_path / "flash.bin", SIZE)
    yield flash
    flash.close()


def test_new_flash_is_a_file_of_ones(flash):
    assert flash.path.read_bytes() == b"\xff" * SIZE
    assert [path.name for path in flash.path.parent.iterdir()] == ["flash.bin"]


def test_programming_only_clears_bits_and_the_file_has_it_at_once(flash):
    flash.program(100, b"\xf0\x0f\xaa")
    flash.program(101, b"\x33\xff")
    assert flash.read(99, 5) == b"\xff\xf0\x03\xaa\xff"
    assert flash.path.read_bytes()[100:103] == b"\xf0\x03\xaa"


def test_erasing_takes_whole_sectors_and_counts_them(flash):
    flash.program(0, bytes(SIZE))
    flash.erase_sector(SECTOR_SIZE + 5)
    flash.erase(3 * SECTOR_SIZE - 1, 2)
    flash.erase(0, 0)
    for sector in range(16):
        erased = sector in (1, 2, 3)
        data = flash.read(sector * SECTOR_SIZE, SECTOR_SIZE)
        assert data == (b"\xff" if erased else b"\0") * SECTOR_SIZE
        assert flash.erase_counts[sector] == erased
    flash.erase_all()
    assert flash.read(0, SIZE) == b"\xff" * SIZE
    assert list(flash.erase_counts) == [1, 2, 2, 2] + [1] * 12


@pytest.mark.parametrize(("address", "length"), [(-1, 1), (SIZE, 1), (SIZE - 1, 2), (0, SIZE + 1)])
def test_nothing_is_done_outside(flash, address, length):
    for operation in (flash.read, flash.erase, lambda at, n: flash.program(at, bytes(n))):
        with pytest.raises(ValueError, match="not in the flash"):
            operation(address, length)
    assert flash.read(0, SIZE) == b"\xff" * SIZE


def test_contents_outlive_the_object(flash):
    flash.program(7, b"hello")
    flash.close()
    again = NorFlash(flash.path, SIZE)
    assert again.read(7, 5) == b"hello"
    again.close()


def test_file_of_another_size_is_refused_and_left_alone(flash):
    with pytest.raises(CitynodeError, match="65536 bytes"):
        NorFlash(flash.path, 2 * SIZE)
    assert flash.path.stat().st_size == SIZE


def test_folder_that_does_not_exist_is_told(tmp_path):
    with pytest.raises(CitynodeError, match="No such file"):
        NorFlash(tmp_path / "nowhere" / "flash.bin", SIZE)


class PowerCutError(Exception):
    pass


def test_hook_sees_pages_and_sectors_and_can_stop_them(flash):
    seen = []

    def hook(operation, address, length):
        seen.append((operation, address, length))
        if len(seen) == 4:
            raise PowerCutError

    flash.hook = hook
    flash.erase(0, 2 * SECTOR_SIZE)
    with pytest.raises(PowerCutError):
        flash.program(200, bytes(600))
    assert seen == [
        ("erase", 0, 4096),
        ("erase", 4096, 4096),
        ("program", 200, 56),
        ("program", 256, 256),
    ]
    flash.hook = None
    assert flash.read(200, 57) == bytes(56) + b"\xff"


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("program"), st.integers(0, 9000), st.binary(max_size=600)),
            st.tuples(st.just("erase"), st.integers(0, 9000), st.integers(0, 6000)),
        ),
        max_size=12,
    ),
    hooked=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_behaves_as_cells_do(tmp_path_factory, steps, hooked):
    cells = bytearray(b"\xff" * SIZE)
    flash = NorFlash(tmp_path_factory.mktemp("nor") / "flash.bin", SIZE)
    if hooked:
        flash.hook = lambda operation, address, length: None
    for kind, address, what in steps:
        if kind == "program":
            flash.program(address, what)
            for index, byte in enumerate(what):
                cells[address + index] &= byte
        else:
            flash.erase(address, what)
            if what:
                first = address // 4096 * 4096
                end = -(-(address + what) // 4096) * 4096
                cells[first:end] = b"\xff" * (end - first)
    assert flash.read(0, SIZE) == cells
    flash.close()
