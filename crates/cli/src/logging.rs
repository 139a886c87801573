//! The log on stderr: a line per event, for people or as JSON.
//!
//! Invariant: no secret and no body is logged. The types of secrets can't be printed, and a panic is
//! reported by its place alone, because its text may quote whatever was being worked on.

use std::io;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::settings::{LogFormat, Settings};

/// Starts the log. Events of other libraries are shown from `warn` on.
pub(crate) fn start(settings: &Settings, stderr_is_terminal: bool) {
    let level = settings.log_level.0;
    let filter = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("till", level);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry();
    match settings.log_format {
        LogFormat::Human => {
            let layer = layer.with_ansi(stderr_is_terminal).with_target(level > LevelFilter::INFO);
            registry.with(layer.with_filter(filter)).init();
        }
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(layer.with_filter(filter)).init();
        }
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(panic.place = place, "a task ended by a mistake in till; please report the place");
    }));
}
