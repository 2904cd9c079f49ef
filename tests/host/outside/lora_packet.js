// Makes LoRaWAN messages with lora-packet: `node lora_packet.js < JSON`, an array of
// {fields, appSKey, nwkSKey, appKey, msb}; prints the PHYPayloads. Bytes are {"hex": "…"}.
"use strict";
const fs = require("fs");
const { fromFields } = require("lora-packet");

function revive(_, value) {
  return value && typeof value.hex === "string" ? Buffer.from(value.hex, "hex") : value;
}

const wanted = JSON.parse(fs.readFileSync(0, "utf8"), revive);
const made = wanted.map(({ fields, appSKey, nwkSKey, appKey, msb }) =>
  fromFields(fields, appSKey, nwkSKey, appKey, msb).getPHYPayload().toString("hex"));
process.stdout.write(JSON.stringify(made));
