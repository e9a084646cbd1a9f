//! Standard output and standard error of commands. The standard library's macros panic when nobody reads any more, as in
//! `larder admin caches | head -1`, or when the disk below is full.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::process;

/// Shadow the standard library's in this room.
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::output::out(format_args!($($text)*)) };
}
macro_rules! println {
    () => { $crate::cli::output::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::output::out(format_args!("{}\n", format_args!($($text)*))) };
}
macro_rules! eprint {
    ($($text:tt)*) => { $crate::cli::output::err(format_args!($($text)*)) };
}
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::output::err(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints, or ends the program: what a command has to say is what it was called for. A reader that has had enough is no
/// failure, a full disk is.
pub(super) fn out(text: Arguments<'_>) {
    let Err(error) = write(text) else {
        return;
    };
    if error.kind() == io::ErrorKind::BrokenPipe {
        process::exit(0);
    }
    err(format_args!(
        "larder: cannot write to standard output: {error}\n"
    ));
    process::exit(1);
}

/// Prints what a service says beside its work. It is no reason to end it that this cannot be written.
pub(super) fn try_out(text: &str) -> io::Result<()> {
    write(format_args!("{text}"))
}

/// Flushed each time, as the end of the program would swallow the error.
fn write(text: Arguments<'_>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_fmt(text)?;
    stdout.flush()
}

/// Prints if that is possible; there is nobody left to tell that it is not.
pub(super) fn err(text: Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}
