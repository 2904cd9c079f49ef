// Reads downlinks as JSON from stdin ({phy, nwk, app, msb} or {accept, key}, in hex); writes what
// lora-packet makes of them.
"use strict";

const lora = require("lora-packet");

const hex = (buffer) => Buffer.from(buffer || []).toString("hex");
const un = (text) => Buffer.from(text, "hex");

function read(job) {
  if (job.accept) {
    const key = un(job.key);
    const sealed = lora.fromWire(un(job.accept));
    const packet = lora.fromWire(lora.decryptJoinAccept(sealed, key));
    return {
      type: packet.getMType(),
      good: lora.verifyMIC(packet, undefined, key),
      nonce: hex(packet.AppNonce),
      addr: hex(packet.DevAddr),
      delay: packet.getRxDelayDel(),
      cflist: hex(packet.CFList),
    };
  }
  const packet = lora.fromWire(un(job.phy));
  const [nwk, app, msb] = [un(job.nwk), un(job.app), un(job.msb)];
  return {
    type: packet.getMType(),
    good: lora.verifyMIC(packet, nwk, undefined, msb),
    addr: hex(packet.DevAddr),
    fcnt: packet.getFCnt(),
    ack: packet.getFCtrlACK(),
    pending: packet.getFCtrlFPending(),
    options: hex(packet.FOpts),
    port: packet.getFPort(),
    payload: hex(lora.decrypt(packet, app, nwk, msb)),
  };
}

const jobs = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(jobs.map(read)));
