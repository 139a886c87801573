//! Runs one hot path so many times, for counting its instructions from outside.

use std::io::{self, Write as _};

use clap::Parser;
use till_bench::hot;

/// Runs one hot path so many times. Without a name it lists them.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which one.
    name: Option<String>,

    /// How often.
    #[arg(default_value_t = 1000)]
    count: u32,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut paths = hot::all();
    let Some(name) = arguments.name else {
        for path in &paths {
            writeln!(io::stdout(), "{}\t{}", path.name, path.what)?;
        }
        return Ok(());
    };
    let path = paths.iter_mut().find(|path| path.name == name);
    let path = path.ok_or_else(|| io::Error::other(format!("there is no hot path {name:?}")))?;
    for _ in 0..arguments.count {
        path.run();
    }
    Ok(())
}
