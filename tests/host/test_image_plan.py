"""Plans of a flash, `citynode image`, and fetching over HTTPS from a server on this machine."""

import hashlib
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading

import pytest
import trustme
from citynode import resources
from citynode.image import fetch, littlefs, nvs, partitions, plan, show
from citynode.image.nvs import Kind
from citynode.image.partitions import Partition
from citynode.virtual.soc import standin
from citynode.virtual.soc.boot import boot
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.flash import NorFlash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MIB = 1 << 20
SECRET = "canary-7f3a9c"
VALUES = {"citynode": {"ver": (Kind.I32, 1), "wifi_psk": (Kind.BLOB, SECRET.encode())}}
FILES = {"/main.py": b"print('hello')\n", "/a/node/__init__.mpy": b"M\x06\x00\x1f"}


@pytest.fixture(params=sorted(CHIPS))
def chip(request):
    return request.param


def image_of(chip, **options):
    return standin.build(CHIPS[chip], **options)


# -- plans --------------------------------------------------------------------------------------


def test_a_plan_puts_everything_in_its_place(chip):
    made = plan.make(image_of(chip), chip, 4 * MIB, nvs_values=VALUES, files=FILES)
    base = plan.BOOTLOADER_OFFSETS[chip]
    assert [(region.offset, region.name) for region in made.regions] == [
        (base, "bootloader"),
        (0x8000, "partition table"),
        (0x9000, "NVS"),
        (0x10000, "MicroPython"),
        (0x200000, "files"),
    ]
    by_name = {region.name: region.data for region in made.regions}
    assert nvs.read_partition(by_name["NVS"]) == VALUES
    assert littlefs.read(by_name["files"], 2 * MIB) == FILES
    rows = {row.name: row for row in made.rows()}
    assert list(rows) == ["bootloader", "partition table", "nvs", "phy_init", "factory", "vfs"]
    assert rows["phy_init"].used is None
    assert rows["factory"].used == len(by_name["MicroPython"])
    assert rows["nvs"].used < 500
    for row in rows.values():
        assert row.used is None or 0 < row.used <= row.size
        assert row.free is None or row.free == row.size - row.used


def test_a_merged_plan_boots(tmp_path, chip):
    made = plan.make(image_of(chip), chip, 4 * MIB, nvs_values=VALUES, files=FILES)
    (tmp_path / "flash").write_bytes(b"\xff" * 4 * MIB)
    flash = NorFlash(tmp_path / "flash", 4 * MIB)
    flash.program(plan.BOOTLOADER_OFFSETS[chip], made.merged())
    assert boot(flash, CHIPS[chip], "poweron").app.version == standin.VERSION


def test_what_is_not_given_is_left_alone():
    made = plan.make(image_of("esp32"), "esp32", 4 * MIB)
    names = [region.name for region in made.regions]
    assert names == ["bootloader", "partition table", "MicroPython"]


def test_newer_images_use_the_whole_flash():
    image = image_of("esp32s3", version="v1.26.0")
    made = plan.make(image, "esp32s3", 16 * MIB, files=FILES)
    assert (made.files.offset, made.files.end) == (0x200000, 16 * MIB)
    older = plan.make(image_of("esp32s3"), "esp32s3", 16 * MIB, files=FILES)
    assert older.files.end == 4 * MIB


def test_an_image_with_slots_resets_the_choice():
    image = bytearray(image_of("esp32"))
    table = [
        Partition("nvs", 1, 2, 0x9000, 0x4000),
        Partition("otadata", 1, 0, 0xD000, 0x2000),
        Partition("phy_init", 1, 1, 0xF000, 0x1000),
        Partition("ota_0", 0, 0x10, 0x10000, 0x190000),
        Partition("ota_1", 0, 0x11, 0x1A0000, 0x190000),
        Partition("vfs", 1, 0x81, 0x330000, 0xD0000),
    ]
    image[0x7000:0x7C00] = partitions.build_table(table)
    made = plan.make(bytes(image), "esp32", 4 * MIB, files=FILES)
    assert made.firmware.app.label == "ota_0"
    select = next(region for region in made.regions if region.name == "otadata")
    assert select.data == b"\xff" * 0x2000


def cut(image, length):
    return image[:length]


def patch(image, at, data):
    return image[:at] + data + image[at + len(data) :]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda image: image_of("esp32c3"), "is for esp32c3, the board has esp32"),
        (lambda image: image[0xF000:], "is the app alone"),
        (lambda image: b"", "no second stage"),
        (lambda image: b"hello", "second stage in the image is cut off"),
        (lambda image: b"text" * 100, "no second stage"),
        (lambda image: cut(image, 0x3000), "second stage in the image is cut off"),
        (lambda image: cut(image, 0x7000), "no partition table"),
        (lambda image: cut(image, 0xF000), "no app in factory"),
        (lambda image: cut(image, 1_000_000), "app in factory in the image is cut off"),
        (lambda image: cut(image, len(image) - 1), "app in factory in the image is cut off"),
        (lambda image: patch(image, 0x20000, b"!"), "app in factory in the image is damaged"),
        (lambda image: patch(image, 0x7004, b"\0\0\0"), "no partition table: Incorrect MD5"),
        (lambda image: image_of("esp32", version="v1.19.1"), "too old"),
    ],
)
def test_bad_images_are_refused_with_their_cause(change, text):
    with pytest.raises(plan.CitynodeError, match=text) as caught:
        plan.make(change(image_of("esp32")), "esp32", 4 * MIB, files=FILES)
    assert caught.value.cure


def test_an_image_for_more_flash_is_refused():
    with pytest.raises(plan.PlanError, match="8 MiB of flash, the board has 4 MiB"):
        plan.make(image_of("esp32", flash_size=8 * MIB), "esp32", 4 * MIB)


def test_a_second_stage_that_a_tool_has_patched_is_taken():
    image = bytearray(image_of("esp32"))
    image[2] = 0  # QIO, as `esptool write-flash -fm qio` writes it
    assert plan.take_apart(bytes(image), "esp32").micropython.version == standin.VERSION


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 0x12000), st.binary(min_size=1, max_size=64), st.integers(0, 1 << 21))
def test_any_image_is_taken_or_refused(at, data, length):
    image = patch(image_of("esp32"), at, data)[:length]
    try:
        firmware = plan.take_apart(image, "esp32")
    except plan.CitynodeError:
        return
    assert firmware.micropython.version == standin.VERSION


# -- a look into images -------------------------------------------------------------------------


def test_a_look_into_an_image_and_a_flash(chip):
    made = plan.make(image_of(chip), chip, 4 * MIB, nvs_values=VALUES, files=FILES)
    merged = made.merged()
    base = plan.BOOTLOADER_OFFSETS[chip]
    flash = (b"\xff" * base + merged).ljust(4 * MIB, b"\xff")
    for data, start in ((merged, base), (flash, 0)):
        seen = show.look(data)
        assert (seen.chip, seen.base) == (chip, start)
        assert (seen.version, seen.built) == (standin.VERSION, standin.BUILT)
        assert seen.files == {name: len(content) for name, content in FILES.items()}
        assert seen.nvs == {"citynode": {"ver": "i32", "wifi_psk": "blob"}}
        assert SECRET not in repr(seen)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_a_look_into_any_bytes(data):
    for head in (b"", b"\xe9", b"\xff" * 0x1000 + b"\xe9"):
        with pytest.raises(plan.PlanError):
            show.look(head + data)


# -- the command --------------------------------------------------------------------------------


def citynode(*args, code=0, env=None):
    done = subprocess.run(
        [sys.executable, "-m", "citynode", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done


def identity_file(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(f'node_id = "bo-0001"\nwifi_ssid = "net"\nwifi_psk = "{SECRET}"\n')
    path.chmod(0o600)
    return path


def test_a_node_is_built_and_shown(tmp_path):
    source = tmp_path / "mp.bin"
    citynode("virtual", "image", "--board", "esp32-devkit", "-o", source)
    assert source.read_bytes() == image_of("esp32")
    out = tmp_path / "node.bin"
    arguments = ["--board", "esp32-devkit", "--profile", "climate-demo", "--image", source]
    arguments += ["--identity", identity_file(tmp_path), "-o", out, "--json"]
    report = json.loads(citynode("image", "build", *arguments).stdout)
    assert (report["chip"], report["offset"]) == ("esp32", 0x1000)
    assert {row["name"] for row in report["partitions"]} >= {"nvs", "factory", "vfs"}
    assert out.stat().st_mode & 0o077 == 0
    shown = json.loads(citynode("image", "show", out, "--json").stdout)
    assert shown["nvs"]["citynode"]["node_id"] == "blob"
    sources = {
        path.relative_to(resources.firmware()).with_suffix(".mpy").as_posix()
        for path in (resources.firmware() / "node").rglob("*.py")
    }
    wanted = {f"/a/{name}" for name in sources} | {"/boot.py", "/main.py", "/config.cbor"}
    assert set(shown["files"]) == wanted
    assert "factory" in citynode("image", "show", out).stdout


def test_errors_are_one_line_with_a_cure(tmp_path):
    source = tmp_path / "mp.bin"
    source.write_bytes(image_of("esp32"))
    common = ["--profile", "climate-demo", "-o", tmp_path / "out.bin"]
    empty = {"CITYNODE_CACHE": str(tmp_path / "cache")}
    interpreter = {"CITYNODE_MICROPYTHON": str(resources.micropython())}
    cases = [
        (["--board", "xiao-esp32c3", "--image", source], "is for esp32, the board has esp32c3"),
        (["--board", "esp32-devkit", "--image", tmp_path / "none.bin"], "cannot read"),
        (["--board", "esp32-devkit"], "run 'citynode image fetch"),
        (["--board", "esp32-devkti", "--image", source], "unknown board"),
    ]
    for arguments, text in cases:
        done = citynode("image", "build", *arguments, *common, code=2, env={**empty, **interpreter})
        assert text in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.bin").exists()


# -- fetching -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


class Site(http.server.BaseHTTPRequestHandler):
    pages: dict
    asked: list

    def do_GET(self):
        self.asked.append(self.path)
        status, headers, body = self.pages.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def site(authority):
    handler = type("Pages", (Site,), {"pages": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    handler.url = f"https://127.0.0.1:{server.server_port}"
    trust = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    handler.opener = staticmethod(fetch.https(trust))
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


IMAGE = b"\xe9" + bytes(range(256)) * 30
DIGEST = hashlib.sha256(IMAGE).hexdigest()
NAME = "ESP32_GENERIC-20250415-v1.25.0.bin"


def test_an_image_is_fetched_once_and_found(site, tmp_path):
    site.pages[f"/{NAME}"] = (200, {}, IMAGE)
    url = f"{site.url}/{NAME}"
    got = fetch.fetch(url, folder=tmp_path / "cache", opener=site.opener)
    assert (got.path.read_bytes(), got.sha256) == (IMAGE, DIGEST)
    assert fetch.fetch(url, DIGEST.upper(), folder=tmp_path / "cache", opener=site.opener) == got
    assert len(site.asked) == 1
    assert fetch.find("ESP32_GENERIC", folder=tmp_path / "cache") == got
    assert fetch.find("ESP32_GENERIC", "v1.25.0", folder=tmp_path / "cache") == got
    for build, version in (("ESP32_GENERIC", "v1.24.0"), ("ESP32_GENERIC_C3", None)):
        with pytest.raises(fetch.FetchError, match="in the cache"):
            fetch.find(build, version, folder=tmp_path / "cache")
    got.path.write_bytes(IMAGE[:-1])
    with pytest.raises(fetch.FetchError, match="is not what was fetched"):
        fetch.find("ESP32_GENERIC", folder=tmp_path / "cache")
    fetch.fetch(url, folder=tmp_path / "cache", opener=site.opener)
    assert fetch.find("ESP32_GENERIC", folder=tmp_path / "cache") == got


def test_the_newest_image_is_found(site, tmp_path):
    for name in (
        NAME,
        "ESP32_GENERIC-20240602-v1.23.0.bin",
        "ESP32_GENERIC-SPIRAM-20260101-v1.27.1.bin",
        "esp32-20230426-v1.20.0.bin",
    ):
        site.pages[f"/{name}"] = (200, {}, IMAGE)
        fetch.fetch(f"{site.url}/{name}", folder=tmp_path, opener=site.opener)
    assert fetch.find("ESP32_GENERIC", folder=tmp_path).path.name == NAME
    old = fetch.find("ESP32_GENERIC", "v1.20.0", folder=tmp_path)
    assert old.path.name == "esp32-20230426-v1.20.0.bin"


@pytest.mark.parametrize(
    ("page", "sha256", "text"),
    [
        ((200, {}, IMAGE), "0" * 64, "has the SHA-256"),
        ((200, {}, IMAGE), "12", "64 hex digits"),
        ((200, {}, b"<html>"), None, "no image of an ESP chip"),
        ((200, {"Content-Length": str(len(IMAGE) + 5)}, IMAGE), None, "cannot load|cut off"),
        ((404, {}, b"no"), None, "404"),
        ((302, {"Location": "http://127.0.0.1:9/x.bin"}, b""), None, "not HTTPS"),
    ],
)
def test_a_bad_answer_leaves_nothing_behind(site, tmp_path, page, sha256, text):
    site.pages[f"/{NAME}"] = page
    with pytest.raises(fetch.FetchError, match=text):
        fetch.fetch(f"{site.url}/{NAME}", sha256, folder=tmp_path / "c", opener=site.opener)
    assert not list((tmp_path / "c").glob("*"))


def test_a_server_that_nobody_vouches_for_is_refused(site, tmp_path):
    with pytest.raises(fetch.FetchError, match="certificate verify failed"):
        fetch.fetch(f"{site.url}/{NAME}", folder=tmp_path / "c")
    assert site.asked == []


def test_addresses():
    assert fetch.url_of("ESP32_GENERIC_S3-SPIRAM_OCT", "v1.25.0") == (
        f"{fetch.SITE}ESP32_GENERIC_S3-SPIRAM_OCT-20250415-v1.25.0.bin"
    )
    assert fetch.url_of("ESP32_GENERIC", "v1.20.0").endswith("/esp32-20230426-v1.20.0.bin")
    assert fetch.url_of("ESP32_GENERIC", "v1.31.0", "20270101").endswith("-20270101-v1.31.0.bin")
    for build, version, date in (
        ("ESP32_GENERIC", "v1.31.0", None),
        ("ESP32_GENERIC", "v1.31.0", "today"),
        ("../x", "v1.25.0", None),
        ("ESP32_GENERIC", "latest", None),
    ):
        with pytest.raises(fetch.FetchError):
            fetch.url_of(build, version, date)
    with pytest.raises(fetch.FetchError, match="over HTTPS"):
        fetch.fetch("http://127.0.0.1/x.bin")
