//! Asks a manager's API: one request on one connection, with an end to every wait and a bound on every answer.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

/// The longest wait for each step.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// Posts JSON; returns the status and the answer's body.
///
/// # Errors
///
/// If nobody answers there, or not in HTTP.
pub(super) fn post(address: &str, path: &str, token: &str, body: &str) -> io::Result<(u16, String)> {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let no_address = || io::Error::new(io::ErrorKind::InvalidInput, "no such address");
    let at = address.to_socket_addrs()?.next().ok_or_else(no_address)?;
    let mut stream = TcpStream::connect_timeout(&at, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    let token = token.trim();
    if token.contains(['\r', '\n']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a token is one line"));
    }
    // By its address: managers answer no foreign names.
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
}

/// Status and body of an answer that ends with its connection.
fn parse(answer: &str) -> io::Result<(u16, String)> {
    let no_http = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_http)?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).ok_or_else(no_http)?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(parse(answer).unwrap(), (404, "{}".to_owned()));
        for text in ["", "HTTP/1.1 \r\n\r\n", "SSH-2.0-x\r\n\r\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
