//! What both ends of a TURN hop share (RFC 8656): ChannelData, credentials, nonces, which peers may be reached,
//! and the URIs of relays.

pub mod address_policy;
pub mod channel_data;
pub mod credentials;
pub mod nonce;
pub mod uri;

/// The IP protocol number of UDP, the only relayed transport (RFC 8656 §18.8).
pub const UDP: u8 = 17;
