//! The entry: installs the one TLS provider, runs the command, turns the outcome into an exit code.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Gives back what large values leave behind when their share of a cache shrinks. glibc's keeps it: a cache of 253 MiB
/// under sets of 16 B to 100 KiB then took 375 MiB of the machine (`benches/README.md`, refused).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // Two providers in the tree would make rustls panic at its first use; naming ours costs nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    larder::cli::run()
}
