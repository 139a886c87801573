//! What the operating system says of this process, under the names that all Prometheus clients use for it.
//!
//! What can't be read is left out: a container may hide any of it. What the sender of traces counts stands here too.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use till_core::metric::{Kind, Page, Unit};
use till_core::time::Timestamp;

use crate::otlp::{self, Exporter};

/// Nanoseconds in a millisecond.
const MILLIS: u64 = 1_000_000;

/// The text for a process that began at `started`.
pub(super) fn text(version: &str, started: Timestamp, exporter: Option<&Exporter>) -> String {
    let mut page = Page::new();
    page.family("till_build_info", Kind::Gauge, Unit::Number, "1, with what this till is.")
        .series(&[("version", version), ("os", std::env::consts::OS), ("arch", std::env::consts::ARCH)], 1);
    let mut single = |name, kind, unit, help, value: Option<u64>| {
        if let Some(value) = value {
            page.family(name, kind, unit, help).series(&[], value);
        }
    };
    single(
        "process_start_time_seconds",
        Kind::Gauge,
        Unit::Nano,
        "When the process started, in seconds since 1970-01-01 UTC.",
        started.0.checked_mul(MILLIS),
    );
    single(
        "process_cpu_seconds_total",
        Kind::Counter,
        Unit::Nano,
        "User and system time of all threads.",
        cpu_nanos(),
    );
    single(
        "process_resident_memory_bytes",
        Kind::Gauge,
        Unit::Number,
        "Resident memory.",
        status_bytes("VmRSS:"),
    );
    single(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        Unit::Number,
        "Virtual memory.",
        status_bytes("VmSize:"),
    );
    // One of them is the directory that is read.
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1));
    single("process_open_fds", Kind::Gauge, Unit::Number, "Open file descriptors.", open);
    let most = getrlimit(Resource::Nofile).current;
    single("process_max_fds", Kind::Gauge, Unit::Number, "How many file descriptors may be open.", most);
    otlp::render(exporter, &mut page);
    page.into_text()
}

fn cpu_nanos() -> Option<u64> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).ok()?.checked_mul(1_000_000_000)?;
    seconds.checked_add(u64::try_from(time.tv_nsec).ok()?)
}

/// A size that Linux gives in kilobytes.
fn status_bytes(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use till_core::time::Timestamp;

    use super::text;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_knows_itself() {
        let text = text("1.2.3", Timestamp(1_769_846_400_123), None);
        assert!(text.contains("\nprocess_start_time_seconds 1769846400.123\n"), "{text}");
        assert!(text.contains("\ntill_build_info{version=\"1.2.3\","), "{text}");
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} in {text}")).parse::<f64>().unwrap()
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        let open = value("process_open_fds");
        assert!(open > 2.0 && open <= value("process_max_fds"));
    }
}
