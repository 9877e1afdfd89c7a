//! What names a message across tries, connections, gateways and instances: two tries are of one message if, and only if,
//! their keys are equal.

use std::{fmt, sync::Arc};

use siphasher::sip128::SipHasher13;

use crate::id::{BusinessCode, MessageId, OutboxId};

/// Names a message for good: a client never uses one for another message.
///
/// Its text, as from [`ToString`], is a key for any database: `9:000000000000c0de:17:ann` is message 17 of business 9
/// from that outbox of the user `ann`. The user stands last because a name may contain anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    /// Who sent it and from where.
    pub window: WindowKey,
    /// The client's number of the message.
    pub message: MessageId,
}

/// Names a window: one per user, outbox and business.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WindowKey {
    /// Whose messages these are.
    pub user: Arc<str>,
    /// The client's outbox.
    pub outbox: OutboxId,
    /// The policy's code of the business.
    pub business: BusinessCode,
}

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WindowKey { user, outbox, business } = &self.window;
        write!(f, "{business}:{:016x}:{}:{user}", outbox.0, self.message)
    }
}

/// The hash of a payload: equal for the same bytes on every instance and version.
///
/// Whoever finds two payloads of one hash gets, under an id of its own, its own earlier answer; so the hash has no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of these bytes: SipHash-1-3 of 128 bits with the key 0, little endian.
    pub fn of(payload: &[u8]) -> Self {
        Self(SipHasher13::new().hash(payload).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_text_that_ends_with_the_user() {
        let window = WindowKey { user: "a:b".into(), outbox: OutboxId(0xc0de), business: BusinessCode(9) };
        let key = CallKey { window, message: MessageId(17) };
        assert_eq!(key.to_string(), "9:000000000000c0de:17:a:b");
    }

    /// Instances of different versions share windows.
    #[test]
    fn a_fingerprint_never_changes() {
        let text: String = Fingerprint::of(b"hello").0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "7dd401d220e77e14ab3c69bec7696ab0");
    }
}
