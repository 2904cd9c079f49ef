"""The join server: who may join, and what a join grants (TS001-1.0.4 section 6.2)."""

from citynode.phy import crypto
from citynode.phy.message import JoinRequest
from citynode.virtual.air.network import frames, region
from citynode.virtual.air.network.device import Device, Session


def complaint(device: Device, request: JoinRequest) -> str:
    """Return why a join-request is refused, or nothing."""
    if request.join_eui != device.join_eui:
        return "the JoinEUI is not this device's"
    if crypto.join_mic(device.app_key, request.raw[:-4]) != request.raw[-4:]:
        return "the MIC of the join-request is wrong"
    if request.dev_nonce <= device.dev_nonce:
        return "the DevNonce is not above the last one"
    return ""


def grant(device: Device, dev_nonce: int, net_id: int, dev_addr: int) -> tuple[Session, bytes]:
    """Return the session that the next JoinNonce opens, and the join-accept."""
    device.join_nonce += 1
    profile = device.profile
    nwk_skey, app_skey = crypto.session_keys(device.app_key, device.join_nonce, net_id, dev_nonce)
    session = Session(
        dev_addr,
        nwk_skey,
        app_skey,
        rx1_delay_s=profile.rx1_delay_s,
        rx1_dr_offset=profile.rx1_dr_offset,
        rx2_rate=profile.rx2_rate,
        channels_hz=dict(enumerate((*region.JOIN_CHANNELS_HZ, *profile.channels_hz))),
        max_rate=profile.max_rate,
    )
    accept = frames.join_accept(
        device.app_key,
        join_nonce=device.join_nonce,
        net_id=net_id,
        dev_addr=dev_addr,
        rx1_dr_offset=profile.rx1_dr_offset,
        rx2_data_rate=profile.rx2_rate,
        delay_s=profile.rx1_delay_s,
        channels_hz=profile.channels_hz,
    )
    return session, accept
