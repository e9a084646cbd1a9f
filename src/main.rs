//! The entry: installs the one TLS provider, runs the command, turns the outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Two providers in the tree would make rustls panic at its first use; naming ours costs nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    larder::cli::run()
}
