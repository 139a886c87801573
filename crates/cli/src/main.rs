//! `till`: one real API key in, many small disposable ones out.

mod args;
mod client;
mod commands;
mod core_dumps;
mod env;
mod exit;
mod inputs;
mod inventory;
mod local_file;
mod logging;
mod master_keys;
mod memory_lock;
mod otlp;
mod output;
mod prices;
mod profiles;
mod settings;
#[cfg(test)]
mod snapshot;
mod span;
mod start;
mod tls;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    core_dumps::forbid();
    let surroundings = env::Surroundings::of_process();
    #[cfg(feature = "failpoints")]
    if let Some(wanted) = surroundings.variable(env::FAILPOINT) {
        till_store::failpoint::arm(wanted);
    }
    let cli = args::Cli::parse();
    exit::report(commands::run(cli, &surroundings))
}
