// Reads devices as JSON from stdin; writes what lora-packet makes of their frames, and frames
// for them. Octets are hexadecimal; EUIs, nonces and addresses are as printed.
"use strict";

const lora = require("lora-packet");

const hex = (buffer) => Buffer.from(buffer).toString("hex");
const un = (text) => Buffer.from(text, "hex");
const number = (value, size) => un(value.toString(16).padStart(2 * size, "0"));
const upper = (fcnt) => Buffer.from([(fcnt >>> 16) & 0xff, fcnt >>> 24]);

function request(phy, appKey) {
  const packet = lora.fromWire(un(phy));
  return {
    type: packet.getMType(),
    good: lora.verifyMIC(packet, undefined, appKey),
    join_eui: hex(packet.JoinEUI),
    dev_eui: hex(packet.DevEUI),
    nonce: packet.DevNonce.readUInt16BE(0),
  };
}

function uplink(frame, keys) {
  const packet = lora.fromWire(un(frame.phy));
  const msb = upper(frame.fcnt);
  return {
    type: packet.getMType(),
    good: lora.verifyMIC(packet, keys.NwkSKey, undefined, msb),
    addr: hex(packet.DevAddr),
    fcnt: packet.getFCnt(),
    adr: packet.getFCtrlADR(),
    ack_req: packet.getFCtrlADRACKReq(),
    ack: packet.getFCtrlACK(),
    options: hex(packet.FOpts),
    port: packet.getFPort(),
    payload: hex(lora.decrypt(packet, keys.AppSKey, keys.NwkSKey, msb)),
  };
}

function accept(fields, appKey) {
  const packet = lora.fromFields(
    {
      MType: "Join Accept",
      AppNonce: number(fields.join_nonce, 3),
      NetID: number(fields.net_id, 3),
      DevAddr: un(fields.addr),
      DLSettings: fields.settings,
      RxDelay: fields.delay,
      CFList: un(fields.cflist),
    },
    undefined,
    undefined,
    appKey
  );
  return hex(packet.getPHYPayload());
}

function downlink(fields, keys) {
  const msb = upper(fields.fcnt);
  const packet = lora.fromFields(
    {
      MType: fields.confirmed ? "Confirmed Data Down" : "Unconfirmed Data Down",
      DevAddr: un(fields.addr),
      FCnt: fields.fcnt & 0xffff,
      FCtrl: { ACK: fields.ack, FPending: fields.pending },
      FOpts: un(fields.options),
      ...(fields.port === null ? {} : { FPort: fields.port }),
      payload: un(fields.payload),
    },
    keys.AppSKey,
    keys.NwkSKey,
    undefined,
    msb
  );
  lora.recalculateMIC(packet, keys.NwkSKey, undefined, msb);
  return hex(Buffer.concat([packet.MHDR, packet.MACPayload, packet.MIC]));
}

function device(job) {
  const appKey = un(job.app_key);
  const keys = lora.generateSessionKeys10(
    appKey,
    number(job.accept.net_id, 3),
    number(job.accept.join_nonce, 3),
    number(job.accept.nonce, 2)
  );
  return {
    nwk: hex(keys.NwkSKey),
    app: hex(keys.AppSKey),
    requests: job.requests.map((phy) => request(phy, appKey)),
    uplinks: job.uplinks.map((frame) => uplink(frame, keys)),
    accept: accept(job.accept, appKey),
    downlinks: job.downlinks.map((fields) => downlink(fields, keys)),
  };
}

const jobs = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(jobs.map(device)));
