//! Development logins name the user without proof, so whatever takes them listens on loopback only.

use std::net::SocketAddr;

use super::Error;

/// Refuses an address that other machines could reach.
///
/// # Errors
///
/// A usage error that names the flag.
pub(super) fn loopback_only(flag: &str, address: SocketAddr) -> Result<SocketAddr, Error> {
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(Error::usage(format_args!("{flag} {address}: only loopback addresses are accepted"))
        .hint("logins are not verified yet, anyone who can connect could be any user; use 127.0.0.1 or [::1]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_pass() {
        for (address, passes) in
            [("127.0.0.1:1", true), ("127.9.9.9:1", true), ("[::1]:1", true), ("0.0.0.0:1", false), ("[::]:1", false)]
        {
            assert_eq!(loopback_only("--listen", address.parse().unwrap()).is_ok(), passes, "{address}");
        }
    }
}
