//! The opening handshake: one HTTP request of bounded size in, one response out.
//!
//! As long as logins prove nothing, a page from elsewhere could log in as anybody through the browser of somebody who runs
//! a gateway. Browsers say where a page comes from, so an `Origin` that is not this machine is refused; so are `null` and
//! `file://`, which any sandboxed or saved page has. Programs other than browsers send no `Origin` and are let in.

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::wire::SUBPROTOCOL;

/// The most headers that a request may have.
pub const MAX_HEADERS: usize = 32;
/// The largest request, from its method to the empty line, in bytes.
pub const MAX_HEAD_BYTES: usize = 4096;

/// The only version of the protocol that RFC 6455 knows.
const VERSION: &[u8] = b"13";

/// A request to speak WebSocket that can be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Bytes of the request. Frames may follow in the same buffer.
    pub consumed: usize,
    /// The value of `Sec-WebSocket-Accept`.
    pub accept: String,
    /// Whether the client offered [`SUBPROTOCOL`], alone or among others.
    pub offers_subprotocol: bool,
}

/// A request that cannot become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// Over [`MAX_HEAD_BYTES`] or [`MAX_HEADERS`].
    #[error("the request's headers are too large")]
    TooLarge,
    /// No HTTP, or a handshake with a fault.
    #[error("{0}")]
    Malformed(&'static str),
    /// HTTP that does not ask for a WebSocket.
    #[error("this port speaks WebSocket only")]
    NotWebSocket,
    /// A page that was not loaded from this machine.
    #[error("pages from elsewhere may not connect here")]
    Origin,
    /// A version other than 13.
    #[error("this port speaks WebSocket version 13 only")]
    Version,
}

impl Upgrade {
    /// Reads a request from the start of `received`. `None` asks for more bytes, of which there are never more than
    /// [`MAX_HEAD_BYTES`].
    ///
    /// # Errors
    ///
    /// If it is no request, or none that may be accepted; [`UpgradeError::response`] is the answer.
    pub fn parse(received: &[u8]) -> Result<Option<Self>, UpgradeError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let head = &received[..received.len().min(MAX_HEAD_BYTES)];
        let consumed = match request.parse(head) {
            Ok(httparse::Status::Complete(consumed)) => consumed,
            Ok(httparse::Status::Partial) if head.len() == MAX_HEAD_BYTES => return Err(UpgradeError::TooLarge),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(UpgradeError::TooLarge),
            Err(_) => return Err(UpgradeError::Malformed("not an HTTP request")),
        };
        if request.method != Some("GET") || request.version != Some(1) {
            return Err(UpgradeError::Malformed("a WebSocket starts with GET and HTTP/1.1"));
        }
        let key = accepted_key(request.headers)?;
        if !named(request.headers, "Origin").all(is_this_machine) {
            return Err(UpgradeError::Origin);
        }
        let offers_subprotocol =
            lists(request.headers, "Sec-WebSocket-Protocol", |name| name == SUBPROTOCOL.as_bytes());
        Ok(Some(Self { consumed, accept: derive_accept_key(key), offers_subprotocol }))
    }

    /// The answer that accepts it. The subprotocol is named only if the client offered it.
    pub fn response(&self) -> Bytes {
        let (name, value, end) =
            if self.offers_subprotocol { ("Sec-WebSocket-Protocol: ", SUBPROTOCOL, "\r\n") } else { ("", "", "") };
        let accept = &self.accept;
        Bytes::from(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{name}{value}{end}\r\n"
        ))
    }
}

impl UpgradeError {
    /// The answer that refuses it, after which the connection is to be closed.
    pub fn response(&self) -> Bytes {
        let (status, headers) = match self {
            Self::TooLarge => ("431 Request Header Fields Too Large", "Connection: close\r\n"),
            Self::Origin => ("403 Forbidden", "Connection: close\r\n"),
            Self::Malformed(_) => ("400 Bad Request", "Connection: close\r\n"),
            Self::NotWebSocket | Self::Version => (
                "426 Upgrade Required",
                "Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            ),
        };
        let body = format!("{self}\n");
        let length = body.len();
        Bytes::from(format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }
}

/// The key of a request that meets RFC 6455 §4.2.1.
fn accepted_key<'a>(headers: &[httparse::Header<'a>]) -> Result<&'a [u8], UpgradeError> {
    if !lists(headers, "Upgrade", |name| name.eq_ignore_ascii_case(b"websocket")) {
        return Err(UpgradeError::NotWebSocket);
    }
    if !lists(headers, "Connection", |name| name.eq_ignore_ascii_case(b"upgrade")) {
        return Err(UpgradeError::Malformed("Connection must name Upgrade"));
    }
    if only(headers, "Host").is_none() {
        return Err(UpgradeError::Malformed("Host is missing or there twice"));
    }
    // Bytes after the head are frames; a body would be taken for them.
    if named(headers, "Content-Length").any(|value| value != b"0") || named(headers, "Transfer-Encoding").any(|_| true)
    {
        return Err(UpgradeError::Malformed("a handshake has no body"));
    }
    if only(headers, "Sec-WebSocket-Version") != Some(VERSION) {
        return Err(UpgradeError::Version);
    }
    only(headers, "Sec-WebSocket-Key")
        .filter(|key| is_nonce(key))
        .ok_or(UpgradeError::Malformed("Sec-WebSocket-Key must be 16 bytes in base64"))
}

/// Whether an origin is `http` or `https` from a loopback host, on any port.
fn is_this_machine(origin: &[u8]) -> bool {
    let Some((scheme, authority)) = std::str::from_utf8(origin).ok().and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "0"),
    };
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_loopback = host == "localhost"
        || host.parse().is_ok_and(|host: Ipv4Addr| host.is_loopback())
        || in_brackets.is_some_and(|host| host.parse() == Ok(Ipv6Addr::LOCALHOST));
    matches!(scheme, "http" | "https") && is_loopback && port.parse::<u16>().is_ok()
}

/// Whether this is the base64 of 16 bytes: 22 digits and two signs of padding.
fn is_nonce(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(digit))
}

/// The values of every header of this name.
fn named<'h, 'a: 'h>(headers: &'h [httparse::Header<'a>], name: &'h str) -> impl Iterator<Item = &'a [u8]> + 'h {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.trim_ascii())
}

/// The value of a header that must be there exactly once.
fn only<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    let mut values = named(headers, name);
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// Whether a header that holds a list, in one line or several, has an element like this.
fn lists(headers: &[httparse::Header<'_>], name: &str, is: impl Fn(&[u8]) -> bool) -> bool {
    named(headers, name).any(|value| value.split(|&byte| byte == b',').any(|element| is(element.trim_ascii())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3, from a page on this machine.
    const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://localhost:8080\r\n\
         Sec-WebSocket-Protocol: chat, dagor.v1\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn parse(request: &str) -> Result<Option<Upgrade>, UpgradeError> {
        Upgrade::parse(request.as_bytes())
    }

    fn status(error: UpgradeError) -> String {
        String::from_utf8(error.response()[9..12].to_vec()).unwrap()
    }

    #[test]
    fn the_rfcs_own_request_is_accepted() {
        let upgrade = parse(&format!("{REQUEST}frames")).unwrap().unwrap();
        assert_eq!(upgrade.consumed, REQUEST.len());
        assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let response = String::from_utf8(upgrade.response().to_vec()).unwrap();
        assert!(response.starts_with("HTTP/1.1 101 "));
        assert!(response.ends_with("=\r\nSec-WebSocket-Protocol: dagor.v1\r\n\r\n"), "{response}");
    }

    #[test]
    fn a_subprotocol_that_was_not_offered_is_not_named() {
        let upgrade = parse(&REQUEST.replace("dagor.v1", "dagor.v10")).unwrap().unwrap();
        assert!(!upgrade.offers_subprotocol);
        assert!(!upgrade.response().windows(9).any(|bytes| bytes == b"-Protocol"));
        assert!(upgrade.response().ends_with(b"=\r\n\r\n"));
    }

    #[test]
    fn every_start_of_a_request_asks_for_more() {
        for end in 0..REQUEST.len() {
            assert_eq!(parse(&REQUEST[..end]), Ok(None), "{end} bytes");
        }
    }

    #[test]
    fn lists_and_names_are_read_in_any_case_and_in_several_lines() {
        let request = REQUEST
            .replace("Connection: Upgrade", "connection: keep-alive, upgrade")
            .replace("Upgrade: websocket", "UPGRADE:  WebSocket ")
            .replace("chat, dagor.v1", "chat\r\nsec-websocket-protocol: dagor.v1");
        assert!(parse(&request).unwrap().unwrap().offers_subprotocol);
    }

    #[test]
    fn plain_http_and_other_versions_are_told_to_upgrade() {
        let plain = parse("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err();
        let old = parse(&REQUEST.replace("Version: 13", "Version: 8")).unwrap_err();
        assert_eq!((plain, old), (UpgradeError::NotWebSocket, UpgradeError::Version));
        assert_eq!((status(plain), status(old)), ("426".into(), "426".into()));
    }

    #[test]
    fn only_pages_from_this_machine_may_connect() {
        let from =
            |origin: &str| parse(&REQUEST.replace("http://localhost:8080", origin)).map(|upgrade| upgrade.is_some());
        for origin in
            ["http://localhost", "https://127.0.0.1", "http://127.9.9.9:1", "https://[::1]", "http://[::1]:65535"]
        {
            assert_eq!(from(origin), Ok(true), "{origin}");
        }
        for origin in [
            "http://example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://192.0.2.1:80",
            "http://[::2]",
            "http://localhost:x",
            "http://localhost/",
            "http://localhost@example.com",
            "ftp://localhost",
            "file://",
            "null",
            "",
            "http://localhost\r\nOrigin: http://example.com",
        ] {
            assert_eq!(from(origin), Err(UpgradeError::Origin), "{origin}");
        }
        assert_eq!(status(UpgradeError::Origin), "403");
        assert!(parse(&REQUEST.replace("Origin: http://localhost:8080\r\n", "")).unwrap().is_some());
    }

    #[test]
    fn faulty_handshakes_are_bad_requests() {
        for (good, bad) in [
            ("GET", "POST"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("GET /chat", "\u{16}\u{3}\u{1}"),
            ("Connection: Upgrade", "Connection: close"),
            ("Host: server.example.com\r\n", ""),
            ("Bub25jZQ==", "Bub25jZ=="),
            ("Bub25jZQ==", "Bub25jZ!=="),
            ("Origin:", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin:"),
            ("Origin:", "Content-Length: 5\r\nOrigin:"),
            ("Origin:", "Transfer-Encoding: chunked\r\nOrigin:"),
        ] {
            let request = REQUEST.replacen(good, bad, 1);
            assert_ne!(request, REQUEST, "{good}");
            assert_eq!(status(parse(&request).unwrap_err()), "400", "{bad}");
        }
    }

    #[test]
    fn a_head_over_its_bounds_is_refused_before_it_ends() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD_BYTES));
        assert_eq!(parse(&long), Err(UpgradeError::TooLarge));
        let many = REQUEST.replace("Origin:", &"A: b\r\n".repeat(MAX_HEADERS));
        assert_eq!(parse(&many), Err(UpgradeError::TooLarge));
        assert_eq!(status(UpgradeError::TooLarge), "431");
    }

    #[test]
    fn a_refusal_says_how_long_it_is_and_that_it_is_the_end() {
        let response = String::from_utf8(UpgradeError::Malformed("no").response().to_vec()).unwrap();
        assert!(response.starts_with("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n"));
        assert!(response.ends_with("Content-Length: 3\r\n\r\nno\n"));
    }
}
