//! Arguments → one library call → exit code.

/// Gives memory back after a burst of connections.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    dagor::cli::main()
}
