//! The binary `caracal`: the server and the command line that administers it.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
