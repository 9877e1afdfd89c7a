//! One file per subcommand of the program.
pub mod client;
