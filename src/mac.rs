//! The one keyed MAC of this crate: SipHash-2-4 with a 128-bit key and 128 bits of output. Who does not have the key makes
//! a MAC that counts once in 2^128 tries.

use std::{fmt, hash::Hasher};

use siphasher::sip128::{Hasher128, SipHasher24};

/// A secret that services or gateways share. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey([u8; 16]);

impl SigningKey {
    /// 128 random bits.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// From 32 hexadecimal digits, as `openssl rand -hex 16` prints them.
    ///
    /// # Errors
    ///
    /// If it is anything else.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let valid = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = Some(text).filter(|_| valid).and_then(|text| u128::from_str_radix(text, 16).ok());
        number.map(|number| Self(number.to_be_bytes())).ok_or(KeyError)
    }

    /// The MAC of `texts`, which may have any length, and of `numbers`, which always have the same. The first text says
    /// what it is used for, so that a MAC of one use is of none for another.
    pub fn mac(&self, texts: &[&[u8]], numbers: &[&[u8]]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        // Whatever has no fixed length comes with its length, so that no two claims have the same bytes.
        for text in texts {
            hasher.write(&(text.len() as u64).to_le_bytes());
            hasher.write(text);
        }
        numbers.iter().for_each(|number| hasher.write(number));
        hasher.finish128().into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// A key that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signing key is 32 hexadecimal digits, such as `openssl rand -hex 16` prints")]
pub struct KeyError;

/// Whether two MACs are the same. They are compared whole: how long that takes does not depend on where they differ.
pub const fn is_same(one: u128, other: u128) -> bool {
    one ^ other == 0
}
