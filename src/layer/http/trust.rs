//! Whose word counts. A level from outside is used only if the policy below says so; by default nobody's is.

use std::{fmt, sync::Arc};

use http::{Extensions, HeaderMap};

use super::{
    claim::Origin,
    header,
    sign::{SignatureFault, Signed, Verifier},
};
use crate::admission::Value;

type IsPeer = dyn Fn(&Extensions) -> bool + Send + Sync;

/// Which callers are believed when they say how important a request is and for whom it is run.
///
/// Who is not believed is not refused: its request is classified like any other that comes from outside.
///
/// ```
/// use dagor::layer::http::{SigningKey, Trust, Verifier};
///
/// let key = SigningKey::from_hex("000102030405060708090a0b0c0d0e0f")?;
/// let trust = Trust::signed(Verifier::new(key, "timeline"));
/// # Ok::<_, dagor::layer::http::KeyError>(())
/// ```
#[derive(Clone, Default)]
pub struct Trust {
    verifier: Option<Arc<Verifier>>,
    is_peer: Option<Arc<IsPeer>>,
}

impl Trust {
    /// Nobody is believed: for services that the outside reaches directly. The default.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// Whoever signs is believed.
    pub fn signed(verifier: Verifier) -> Self {
        Self { verifier: Some(Arc::new(verifier)), is_peer: None }
    }

    /// A caller for which `is_peer` holds is believed without a signature. It sees what the server put into the
    /// request's extensions (such as axum's `ConnectInfo`, or the client certificate of a TLS connection), and not the
    /// headers, because those are the caller's own words.
    ///
    /// A peer that hands on its callers' headers hands on this trust.
    #[must_use]
    pub fn or_peers(mut self, is_peer: impl Fn(&Extensions) -> bool + Send + Sync + 'static) -> Self {
        self.is_peer = Some(Arc::new(is_peer));
        self
    }

    /// What the caller says, if it is believed.
    pub(super) fn hear<'a>(
        &self,
        headers: &'a HeaderMap,
        extensions: &Extensions,
        unix_millis: u64,
    ) -> Option<(Signed<'a>, Origin)> {
        let value = Value::from_bits(header::number(headers, &header::LEVEL)?);
        let claim = Signed { value, user: header::user(headers) };
        if self.is_peer.as_ref().is_some_and(|is_peer| is_peer(extensions)) {
            return Some((claim, Origin::Peer));
        }
        self.check(headers, claim, unix_millis).ok().map(|()| (claim, Origin::Signed))
    }

    fn check(&self, headers: &HeaderMap, claim: Signed<'_>, unix_millis: u64) -> Result<(), SignatureFault> {
        let signature = header::text(headers, &header::SIGNATURE).ok_or(SignatureFault::Malformed)?;
        self.verifier.as_ref().ok_or(SignatureFault::Forged)?.verify(claim, signature, unix_millis)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("verifier", &self.verifier).field("peers", &self.is_peer.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::layer::http::sign::{Signer, SigningKey};

    const NOW: u64 = 1_700_000_000_000;
    const KEY: SigningKey = SigningKey::new([1; 16]);
    const ANN: Signed<'_> = Signed { value: Value::from_bits(77), user: Some("ann") };

    fn headers(signature: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::LEVEL, HeaderValue::from_static("77"));
        headers.insert(header::USER, HeaderValue::from_static("ann"));
        if let Some(signature) = signature {
            headers.insert(header::SIGNATURE, HeaderValue::from_str(signature).unwrap());
        }
        headers
    }

    fn heard(trust: &Trust, headers: &HeaderMap) -> Option<Origin> {
        let heard = trust.hear(headers, &Extensions::new(), NOW);
        heard.map(|(claim, origin)| {
            assert_eq!(claim, ANN);
            origin
        })
    }

    #[test]
    fn by_default_nobody_is_believed() {
        let signature = Signer::new(KEY, "timeline").sign(ANN, NOW);
        assert_eq!(heard(&Trust::default(), &headers(None)), None);
        assert_eq!(heard(&Trust::default(), &headers(Some(&signature))), None);
    }

    #[test]
    fn whoever_signs_is_believed() {
        let trust = Trust::signed(Verifier::new(KEY, "timeline"));
        let signature = Signer::new(KEY, "timeline").sign(ANN, NOW);
        assert_eq!(heard(&trust, &headers(None)), None);
        assert_eq!(heard(&trust, &headers(Some("v1.9.9.9"))), None);
        assert_eq!(heard(&trust, &headers(Some(&signature))), Some(Origin::Signed));
        let mut twice = headers(Some(&Signer::new(KEY, "timeline").sign(ANN, NOW)));
        twice.append(header::USER, HeaderValue::from_static("bob"));
        assert_eq!(heard(&trust, &twice), None, "a second user is not the one that was signed");
    }

    #[test]
    fn a_peer_is_believed_by_what_the_server_knows_of_it() {
        let trust = Trust::nobody().or_peers(|extensions| extensions.get::<u8>() == Some(&7));
        let mut extensions = Extensions::new();
        extensions.insert(8_u8);
        assert!(trust.hear(&headers(None), &extensions, NOW).is_none());
        extensions.insert(7_u8);
        assert_eq!(trust.hear(&headers(None), &extensions, NOW), Some((ANN, Origin::Peer)));
    }
}
