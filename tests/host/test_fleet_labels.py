"""Labels: what is printed is what a scanner reads, where the sheet has its labels."""

import pypdfium2
import pytest
import zxingcpp
from citynode.fleet import formats, tr005
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import Place
from citynode.fleet.labels import Label, Print, render
from citynode.fleet.node import Entry
from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import citynode

KEY = "5ec2e7" + "a1" * 13
MM = 72 / 25.4
DPI = 300
LONGEST = "a-node-with-the-longest-name-000"


@pytest.fixture
def path(state):
    """A fleet of a node with everything, one with a long name, and one without LoRaWAN."""
    path = state / "fleet.db"
    Fleet.init(path, Place.FILE)
    with Fleet(path) as fleet:
        fleet.add(
            [
                Entry("kerb", "240ac4000004", "70b3d57ed0000001", "70b3d57ed0ffffff",
                      site="Łódź, Plac Wolności 14", secrets={"app_key": KEY}),
                Entry(LONGEST, dev_eui="ffffffffffffffff", batch="b1",
                      site="A street whose name goes on and on and on " * 2),
                Entry("pond", "24587cc0ff01"),
            ]
        )  # fmt: skip
    return path


def read(file, page=0, box=None):
    """Return what a scanner makes of a page or a box of it (x, y, width, height in mm): texts,
    and where they are."""
    with pypdfium2.PdfDocument(file) as pdf:
        width, height = pdf[page].get_size()
        x, y, wide, high = (each * MM for each in box or (0, 0, width / MM, height / MM))
        crop = (x, max(0, height - y - high), max(0, width - x - wide), y)
        image = pdf[page].render(scale=DPI / 72, crop=crop).to_pil()
    found = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormat.QRCode)
    return {
        each.text: (
            (each.position.top_left.x + each.position.bottom_right.x) / 2 / DPI * 25.4,
            (each.position.top_left.y + each.position.bottom_right.y) / 2 / DPI * 25.4,
        )
        for each in found
    }


def words(file, page=0):
    """Return the text of a page, line by line."""
    with pypdfium2.PdfDocument(file) as pdf:
        return pdf[page].get_textpage().get_text_bounded().split("\r\n")


@pytest.mark.parametrize("name", formats.FORMATS)
def test_every_format_is_scanned_where_its_labels_are(tmp_path, name):
    file, form = tmp_path / "labels.pdf", formats.FORMATS[name]
    codes = [
        tr005.text(f"{number:016x}", "70b3d57ed0ffffff", tr005.Options(checksum=True), "S" * number)
        for number in (1, 30)
    ]
    made = [Label(code, LONGEST, "70B3D57ED0000001", "Ring") for code in (*codes, "POND")]
    skip = 0 if form.per_page == 1 else form.per_page - 2
    file.write_bytes(render(made, form, Print(skip, frame=True)))
    with pypdfium2.PdfDocument(file) as pdf:
        assert len(pdf) == (3 if form.per_page == 1 else 2)
        sizes = {tuple(round(each / MM, 1) for each in page.get_size()) for page in pdf}
    assert sizes == {tuple(round(each, 1) for each in form.page)}
    for number, label in enumerate(made, skip):
        page, place = divmod(number, form.per_page)
        assert list(read(file, page, (*form.place(place), *form.size))) == [label.qr]


def test_sheets_are_measured_as_their_makers_do():
    """Margins left and top, and pitch, of the makers' templates."""
    for name, left, top, right in (
        ("L4731", 8.6, 13.5, 27.9),
        ("L7651", 4.75, 10.7, 40.6),
        ("L7160", 7.25, 15.15, 66.0),
        ("3475", 0.0, 4.5, 70.0),
        ("5160", 4.76, 12.7, 69.85),
        ("5167", 7.14, 12.7, 52.39),
    ):
        form = formats.FORMATS[name]
        assert form.place(0) == pytest.approx((left, top), abs=0.02)
        assert form.place(1)[0] - form.place(0)[0] == pytest.approx(right, abs=0.01)
        last = form.place(form.per_page - 1)
        for axis in (0, 1):
            assert last[axis] + form.size[axis] <= form.page[axis] + 0.01
    assert formats.find("avery l7160") is formats.FORMATS["L7160"]
    assert formats.find("Dymo 30252") is formats.FORMATS["99010"]
    assert formats.find("") is None


def test_what_people_read(path, tmp_path):
    file = tmp_path / "labels.pdf"
    assert citynode("fleet", "labels", "-f", "3475", "-o", file).code == 0
    told = words(file)
    assert "kerb" in told
    assert "70B3D57ED0000001" in told
    assert "?ódz, Plac Wolnosci 14" in told
    assert "24587CC0FF01" in told
    assert any(
        line.startswith("A street whose name goes on") and line.endswith("...") for line in told
    )
    data = file.read_bytes() + "".join(told).encode()
    assert KEY not in data.decode("latin-1").lower()


def test_the_same_nodes_give_the_same_bytes(path, tmp_path):
    for name in ("a", "b"):
        citynode("fleet", "labels", "-f", "L7651", "-o", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_offset_and_options(path, tmp_path):
    file = tmp_path / "labels.pdf"
    options = ("fleet", "labels", "kerb", "-f", "l7160", "-o", file)
    assert citynode(*options).code == 0
    ((_, at),) = read(file).items()
    assert citynode(*options, "--offset", "2,-1.5", "--frame").code == 0
    ((_, moved),) = read(file).items()
    assert (moved[0] - at[0], moved[1] - at[1]) == pytest.approx((2, -1.5), abs=0.1)
    assert citynode(*options, "--serial", "--checksum", "--profile-id", "01ab0002").code == 0
    (text,) = read(file)
    body, _, checksum = text.rpartition(":C")
    assert body == "LW:D0:70B3D57ED0FFFFFF:70B3D57ED0000001:01AB0002:SKERB"
    assert int(checksum, 16) == tr005.crc16(body.encode())


def test_the_example_of_tr005():
    options = tr005.Options("AABB1122", checksum=True)
    made = tr005.text("aabbccddeeff0011", "1122334455667788", options)
    assert made.startswith("LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB1122:C")
    whole = "LW:D0:1122334455667788:AABBCCDDEEFF0011:AABB1122:OAABBCCDDEEFF:SYYWWNNNNNN:PFOOBAR"
    assert tr005.crc16(whole.encode()) == 0xAF2C
    with pytest.raises(ValueError, match="capitals"):
        tr005.text("0" * 16, "0" * 16, options, "small")


@settings(deadline=None)
@given(st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True))
def test_every_node_id_is_a_serial_number(node_id):
    made = tr005.text("0" * 16, "f" * 16, tr005.Options(checksum=True), node_id.upper())
    assert made.split(":")[5] == f"S{node_id.upper()}"


def test_printing_is_a_stage_and_a_draft_is_none(path, tmp_path):
    options = ("fleet", "labels", "-f", "L7651", "-o", tmp_path / "labels.pdf", "--json")
    missing = ("--stage", "label=missing")
    assert citynode(*options, *missing, "--draft").row["labels"] == 3
    assert citynode(*options, "--batch", "b1").row == {
        "file": str(tmp_path / "labels.pdf"), "format": "L7651", "labels": 1, "sheets": 1,
    }  # fmt: skip
    assert citynode(*options, *missing).row["labels"] == 2
    assert citynode(*options, *missing).complaint.startswith("no node is meant by that")
    steps = [row["stages"] for row in citynode("fleet", "list", "--json").rows]
    assert {each["label"]["detail"] for each in steps} == {"L7651"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "no labels were named; see 'citynode fleet labels --formats'"),
        (["-f", "L9999"], "no labels are named 'L9999'; see"),
        (["-f", "L7160", "--skip", "21"], "a sheet has 21 labels; give --skip less"),
        (["-f", "L7160", "--offset", "1"], "--offset 1 is not X,Y; give millimetres"),
        (["-f", "L7160", "--offset", "nan,0"], "--offset nan,0 is not X,Y"),
        (["-f", "L7160", "--profile-id", "12"], "--profile-id: a ProfileID is 8 hex digits"),
        (["-f", "L7160", "--font", __file__], f"{__file__} is no font; give --font a TrueType"),
        (["-f", "L7160", "--font", "/no.ttf"], "/no.ttf is no font"),
        (["-f", "L7160", "-o", "/no/where.pdf"], "cannot write /no/where.pdf"),
    ],
)
def test_what_cannot_be_printed_is_told(path, tmp_path, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    done = citynode("fleet", "labels", *options)
    assert (done.code, done.out) == (2, "")
    assert done.complaint.startswith(told)
    assert citynode("fleet", "list", "--stage", "label", "--json").out == ""
    assert not list(tmp_path.glob("*.pdf"))


def test_the_formats_are_listed(state):
    assert {row["name"] for row in citynode("fleet", "labels", "--formats", "--json").rows} == set(
        formats.FORMATS
    )
    assert "38.1 x 21.2 mm" in citynode("fleet", "labels", "--formats").out
