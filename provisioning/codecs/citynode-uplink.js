// Uplink codec of citynode nodes for The Things Stack v3 and ChirpStack v4: ECMAScript 5, total.
// `data` has the names and units that `citynode decode --json` has.
// Made from firmware/node/wire/schema.py by `python -m citynode.codecs`: do not edit.

// k: [name, [field, low, high, scale, zero, form]…] with low and high in steps = raw + zero;
// a value is steps / scale, or steps * -scale where scale is below zero.
var RECORDS = {
1: ["climate",
 ["temperature_c",-6000,12500,100],
 ["humidity_pct",0,1000,10],
 ["pressure_pa",30000,120000,1,100000],
 ["co2_ppm",0,40000,1,400],
 ["pm25_ugm3",0,50000,10],
 ["pm10_ugm3",0,50000,10],
 ["battery_v",0,3000,100,200]],
2: ["weather",
 ["rain_mm",0,5000,10],
 ["wind_ms",0,1000,10],
 ["gust_ms",0,1000,10],
 ["wind_from_deg",0,360],
 ["solar_wm2",0,2000],
 ["battery_v",0,3000,100,200]],
3: ["traffic",
 ["interval_s",1,1440,-60],
 ["bikes_1",0,65535],
 ["cars_1",0,65535],
 ["heavy_1",0,65535],
 ["bikes_2",0,65535],
 ["cars_2",0,65535],
 ["heavy_2",0,65535],
 ["speed_1_kmh",0,600,2],
 ["speed_2_kmh",0,600,2],
 ["v85_1_kmh",0,600,2],
 ["v85_2_kmh",0,600,2],
 ["occupancy_pct",0,200,2],
 ["battery_v",0,3000,100,200]],
4: ["health",
 ["firmware",0,999999,1,0,"version"],
 ["reset_cause",0,255,1,0,["unknown","poweron","hard","wdt","deepsleep","soft","sw","panic","brownout","update"]],
 ["epoch",0,4294967295],
 ["restarts",0,4294967295],
 ["uptime_s",0,4294967295],
 ["heap_free_b",0,268435455,-16],
 ["idf_heap_free_b",0,268435455,-16],
 ["spool_records",0,4294967295],
 ["dropped",0,4294967295],
 ["sensor_faults",0,4294967295],
 ["link_reconnects",0,4294967295],
 ["broker_reconnects",0,4294967295],
 ["rssi_dbm",-200,50],
 ["snr_db",-128,127,4],
 ["battery_v",0,3000,100,200]],
5: ["event",
 ["code",0,255,1,0,["restart","tamper","fault_on","fault_off","config_fault","clock_set"]],
 ["detail",-2147483648,2147483647]]
};
var STATUS = ["clock_synced","restarted","sensor_fault","low_battery","overrun","tamper"];

function decodeUplink(input) {
  try {
    return readRecord(readItems(readBytes(input)));
  } catch (error) {
    var text = error && error.frame ? error.frame : "not a frame";
    return { data: {}, warnings: [], errors: [text] };
  }
}

function fail(text) {
  throw { frame: text };
}

function readBytes(input) {
  var bytes = [];
  for (var i = 0; i < input.bytes.length; i++) {
    var byte = input.bytes[i];
    if (typeof byte !== "number" || (byte & 255) !== byte) fail("not bytes");
    bytes.push(byte);
  }
  return bytes;
}

// Reads the frame's array (RFC 8949, deterministic). Integers, booleans, null and undefined are
// themselves; "f" stands for a float and "s" for a string, whose contents no field needs.
function readItems(bytes) {
  var pos = 0;
  var major;
  var info;

  function bad(why) {
    fail("not the CBOR of a frame: " + why);
  }

  function need(size) {
    if (size > bytes.length - pos) bad("truncated");
  }

  // Exact to 2^53; what is above is out of every range anyway.
  function number(size) {
    var value = 0;
    need(size);
    while (size--) value = value * 256 + bytes[pos++];
    return value;
  }

  function head() {
    var first = number(1);
    major = first >> 5;
    info = first & 31;
    if (info < 24) return info;
    if (info > 27) bad("malformed");
    var n = number(1 << (info - 24));
    if (major < 7 && n < [24, 256, 65536, 4294967296][info - 24]) bad("not deterministic");
    return n;
  }

  // RFC 3629 section 4
  function text(end) {
    while (pos < end) {
      var c = bytes[pos++];
      var more = c < 128 ? 0 : c < 194 ? 9 : c < 224 ? 1 : c < 240 ? 2 : c < 245 ? 3 : 9;
      if (more > end - pos) bad("malformed");
      var low = c === 224 ? 160 : c === 240 ? 144 : 128;
      var high = c === 237 ? 159 : c === 244 ? 143 : 191;
      while (more--) {
        c = bytes[pos++];
        if (c < low || c > high) bad("malformed");
        low = 128;
        high = 191;
      }
    }
  }

  function item() {
    var n = head();
    if (major < 2) return major ? -1 - n : n;
    if (major < 4) {
      need(n);
      if (major === 3) text(pos + n);
      else pos += n;
      return "s";
    }
    if (major < 7 || info < 20 || info === 24) bad("malformed");
    return info > 24 ? "f" : [false, true, null, undefined][info - 20];
  }

  if (bytes.length && (bytes[0] < 129 || bytes[0] > 152)) fail("not a record's array");
  var count = head();
  var items = [];
  if (count > 64) bad("too many items");
  while (items.length < count) items.push(item());
  if (pos < bytes.length) bad("bytes after the end");
  return items;
}

function integer(value, low, high, what) {
  if (typeof value !== "number" || value < low || value > high) fail(what);
  return value;
}

function readRecord(items) {
  var max = 4294967295;
  var kind = items[0];
  if (typeof kind !== "number") fail("not a record's array");
  if (kind < 0) fail("batch not supported by this version");
  var fields = RECORDS[kind];
  if (!fields) fail("unknown record type: " + kind);
  if (items.length < 4) fail("not a record's array");
  var seq = integer(items[1], 0, max, "sequence number is not 0 … 2^32-1");
  var t = integer(items[2], -1 - max, max, "time is not -2^32 … 2^32-1");
  var status = integer(items[3], 0, 65535, "status is not 0 … 65535");
  var timed = t >= 0;
  var data = {
    record: fields[0],
    seq: seq,
    t: timed ? t : null,
    time: timed ? new Date(t * 1000).toISOString().replace(".000", "") : null,
    age_s: timed ? null : -1 - t,
    status: [],
    faults: []
  };
  var warnings = [];
  for (var bit = 0; bit < 16; bit++) {
    if ((status >> bit) & 1) data.status.push(STATUS[bit] || "bit_" + bit);
  }
  for (var i = 4; i < items.length || i < fields.length + 3; i++) {
    var raw = i < items.length ? items[i] : null;
    var field = fields[i - 3];
    if (!field) {
      if (raw === "f") fail("no possible value: later field");
      continue;
    }
    data[field[0]] = raw === null || raw === undefined ? null : readValue(field, raw);
    if (raw === undefined) {
      data.faults.push(field[0]);
      warnings.push("sensor fault: " + field[0]);
    }
  }
  return { data: data, warnings: warnings, errors: [] };
}

function readValue(field, raw) {
  var scale = field[3] || 1;
  var form = field[5];
  var what = "no possible value: " + field[0];
  var steps = integer(typeof raw === "number" ? raw + (field[4] || 0) : raw, field[1], field[2], what);
  if (form === "version") {
    return [Math.floor(steps / 10000), Math.floor(steps / 100) % 100, steps % 100].join(".");
  }
  if (form) return steps < form.length ? form[steps] : steps;
  return scale < 0 ? steps * -scale : steps / scale;
}
