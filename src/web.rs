//! What every HTTP page of this program keeps to.
//!
//! A page from elsewhere must not read what is here: a browser that was led here by a name of that page (DNS rebinding) says
//! so in `Host`, which therefore has to be an address or `localhost`. What changes something also needs a token, and a type
//! of content that no form of another page can send.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Answers only who has asked for an address or for `localhost`.
pub async fn refuse_foreign_names(request: Request, next: Next) -> Response {
    if is_meant(request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "ask for an address or for localhost\n").into_response()
    }
}

/// Whether every `Host` is an address or `localhost`. No browser leaves it out.
fn is_meant(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().all(|host| {
        let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
    })
}

/// Whether a request shows this token, as `Authorization: Bearer …`.
pub fn shows(headers: &HeaderMap, token: &str) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    is_same(shown.as_bytes(), token.as_bytes())
}

/// Takes as long for a token that is nearly right as for one that is all wrong.
fn is_same(shown: &[u8], token: &[u8]) -> bool {
    let differences = token.iter().zip(shown.iter().chain(std::iter::repeat(&0)));
    let difference = differences.fold(shown.len() ^ token.len(), |sum, (a, b)| sum | usize::from(a ^ b));
    difference == 0 && !token.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_answered() {
        let is_meant = |host: &str| is_meant(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]));
        for host in ["127.0.0.1:7401", "localhost", "LocalHost:7401", "[::1]:7401", "192.0.2.1"] {
            assert!(is_meant(host), "{host}");
        }
        for host in ["example.com", "localhost.example.com:7401", "127.0.0.1.example.com", ""] {
            assert!(!is_meant(host), "{host}");
        }
        assert!(super::is_meant(&HeaderMap::new()));
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let shows = |shown: &str, token: &str| {
            shows(&HeaderMap::from_iter([(header::AUTHORIZATION, shown.parse().unwrap())]), token)
        };
        assert!(shows("Bearer secret", "secret"));
        for shown in ["Bearer secre", "Bearer secrets", "Bearer ", "secret", "Basic secret", ""] {
            assert!(!shows(shown, "secret"), "{shown}");
        }
        assert!(!shows("Bearer ", ""), "no token is no token");
        assert!(!super::shows(&HeaderMap::new(), "secret"));
    }
}
