//! Log lines go to standard error, so that standard output stays for `--json`.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use super::Error;

/// Starts logging with a filter such as `info` or `warn,dagor::gateway=debug`.
pub(super) fn init(filter: &str) -> Result<(), Error> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| {
        Error::usage(format_args!("--log {filter:?}: {error}"))
            .hint("use a level (error, warn, info, debug, trace), or levels per module: info,dagor::gateway=debug")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}
