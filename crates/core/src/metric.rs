//! What is counted for whoever watches, and its text for Prometheus.
//!
//! Counting is one relaxed atomic addition: no lock, no look-up, no memory, no clock. Counters order nothing. What is
//! counted on every request is kept once per thread by whoever counts it, and summed when somebody reads.
//!
//! The text is version 0.0.4 of the exposition format. Times are kept in nanoseconds and money in nano-dollars, and both are
//! written as exact decimal numbers: no floating point.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// Only goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// This many.
    pub fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many values of a histogram are told apart, beside those above the last bound.
pub const BUCKETS: usize = 16;

/// The upper bounds of a histogram's buckets, ascending, each with the values that are equal to it.
pub type Bounds = [u64; BUCKETS];

const MICROS: u64 = 1_000;
const MILLIS: u64 = 1_000_000;
const SECONDS: u64 = 1_000_000_000;

/// For what till does itself, in nanoseconds: 25 µs to 10 s.
pub const SHORT: Bounds = [
    25 * MICROS,
    50 * MICROS,
    100 * MICROS,
    250 * MICROS,
    500 * MICROS,
    MILLIS,
    2_500 * MICROS,
    5 * MILLIS,
    10 * MILLIS,
    25 * MILLIS,
    50 * MILLIS,
    100 * MILLIS,
    500 * MILLIS,
    SECONDS,
    2_500 * MILLIS,
    10 * SECONDS,
];

/// For what a provider does, in nanoseconds: 5 ms to 10 min.
pub const LONG: Bounds = [
    5 * MILLIS,
    10 * MILLIS,
    25 * MILLIS,
    50 * MILLIS,
    100 * MILLIS,
    250 * MILLIS,
    500 * MILLIS,
    SECONDS,
    2_500 * MILLIS,
    5 * SECONDS,
    10 * SECONDS,
    30 * SECONDS,
    60 * SECONDS,
    120 * SECONDS,
    300 * SECONDS,
    600 * SECONDS,
];

/// For how many of something come together: 1 to 32,768.
pub const NUMBERS: Bounds =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768];

/// How values are distributed. Whoever observes and whoever reads know the bounds.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    above: AtomicU64,
    sum: AtomicU64,
}

impl Histogram {
    /// Counts a value.
    pub fn observe(&self, bounds: &Bounds, value: u64) {
        // From the front: most values are small, and a search in halves always takes five steps.
        let buckets = bounds.iter().zip(&self.buckets);
        let found = buckets.into_iter().find(|(bound, _)| value <= **bound);
        found.map_or(&self.above, |(_, bucket)| bucket).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a time in nanoseconds.
    pub fn observe_time(&self, bounds: &Bounds, time: std::time::Duration) {
        self.observe(bounds, nanos(time));
    }

    /// Adds what was counted to `reading`.
    pub fn read_into(&self, reading: &mut Reading) {
        for (to, from) in reading.buckets.iter_mut().zip(&self.buckets) {
            *to += from.load(Ordering::Relaxed);
        }
        reading.above += self.above.load(Ordering::Relaxed);
        // It would take centuries to come round.
        reading.sum = reading.sum.wrapping_add(self.sum.load(Ordering::Relaxed));
    }

    /// What was counted.
    pub fn read(&self) -> Reading {
        let mut reading = Reading::default();
        self.read_into(&mut reading);
        reading
    }
}

/// A time in nanoseconds.
fn nanos(time: std::time::Duration) -> u64 {
    // Cheaper than all of its 128 bits, and right for centuries.
    time.as_secs().wrapping_mul(SECONDS).wrapping_add(time.subsec_nanos().into())
}

/// A histogram at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// How many fell into each bucket alone.
    pub buckets: [u64; BUCKETS],
    /// How many were above all bounds.
    pub above: u64,
    /// All values together.
    pub sum: u64,
}

impl Reading {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum::<u64>() + self.above
    }
}

/// What a family of series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How values are distributed.
    Histogram,
}

impl Kind {
    /// The word of the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// In what the numbers of a family are kept, and so how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Whole numbers.
    Number,
    /// Billionths, of seconds or dollars.
    Nano,
}

impl Unit {
    fn write(self, text: &mut String, value: u64) {
        let written = match self {
            Self::Number => write!(text, "{value}"),
            Self::Nano => write!(text, "{}", Nano(value)),
        };
        written.expect("a String takes everything");
    }
}

/// Billionths as an exact decimal number without zeros at its end.
struct Nano(u64);

impl fmt::Display for Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let part = format!("{part:09}");
        write!(f, "{whole}.{}", part.trim_end_matches('0'))
    }
}

/// Labels of a series.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page in the text format while it is written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// A family of series, to be written one after the other.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'a str,
    unit: Unit,
}

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Self { text: String::with_capacity(16 * 1024) }
    }

    /// Begins a family. `help` is one line.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, unit: Unit, help: &str) -> Family<'a> {
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str())
            .expect("a String takes everything");
        Family { page: self, name, unit }
    }

    /// A counter of one series.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, Kind::Counter, Unit::Number, help).series(&[], value);
    }

    /// A gauge of one series.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, Kind::Gauge, Unit::Number, help).series(&[], value);
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// One series with its value.
    pub fn series(&mut self, labels: Labels<'_>, value: u64) {
        self.line("", labels, None, value, self.unit);
    }

    /// The series of a histogram.
    pub fn histogram(&mut self, labels: Labels<'_>, bounds: &Bounds, reading: &Reading) {
        let mut below = 0;
        for (bound, count) in bounds.iter().zip(&reading.buckets) {
            below += count;
            let mut le = String::new();
            self.unit.write(&mut le, *bound);
            self.line("_bucket", labels, Some(&le), below, Unit::Number);
        }
        let count = reading.count();
        self.line("_bucket", labels, Some("+Inf"), count, Unit::Number);
        self.line("_sum", labels, None, reading.sum, self.unit);
        self.line("_count", labels, None, count, Unit::Number);
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, le: Option<&str>, value: u64, unit: Unit) {
        let text = &mut self.page.text;
        text.push_str(self.name);
        text.push_str(suffix);
        let mut open = '{';
        for (name, value) in labels.iter().copied().chain(le.map(|le| ("le", le))) {
            text.push(open);
            open = ',';
            text.push_str(name);
            text.push_str("=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    other => text.push(other),
                }
            }
            text.push('"');
        }
        if open == ',' {
            text.push('}');
        }
        text.push(' ');
        unit.write(text, value);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Counter, Gauge, Histogram, Kind, LONG, NUMBERS, Page, SHORT, Unit};

    #[test]
    fn bounds_ascend() {
        for bounds in [SHORT, LONG, NUMBERS] {
            assert!(bounds.is_sorted_by(|one, next| one < next), "{bounds:?}");
        }
    }

    #[test]
    fn a_value_falls_into_the_first_bucket_that_has_it() {
        let check = |bounds: &Bounds, value, bucket: Option<usize>| {
            let histogram = Histogram::default();
            histogram.observe(bounds, value);
            let reading = histogram.read();
            assert_eq!((reading.count(), reading.sum), (1, value));
            assert_eq!(reading.buckets.iter().position(|count| *count == 1), bucket, "{value}");
        };
        for (value, bucket) in [
            (0, Some(0)),
            (1, Some(0)),
            (2, Some(1)),
            (3, Some(2)),
            (32_768, Some(15)),
            (32_769, None),
            (u64::MAX, None),
        ] {
            check(&NUMBERS, value, bucket);
        }
        check(&SHORT, 25_000, Some(0));
        check(&SHORT, 25_001, Some(1));
    }

    #[test]
    fn the_text_is_that_of_prometheus() {
        let (counter, gauge, histogram) = (Counter::default(), Gauge::default(), Histogram::default());
        counter.add(2);
        counter.add(3);
        gauge.enter();
        gauge.enter();
        gauge.leave();
        histogram.observe(&SHORT, 25_000);
        histogram.observe(&SHORT, 11_000_000_001);
        let mut page = Page::new();
        page.counter("a_total", "An a.", counter.read());
        page.gauge("b", "A b.", gauge.read());
        let mut spend = page.family("c_dollars_total", Kind::Counter, Unit::Nano, "Money.");
        spend.series(&[("provider", "a\"b\\c\nd"), ("x", "y")], 1_250_000_001);
        spend.series(&[], 3_000_000_000);
        let mut times = page.family("d_seconds", Kind::Histogram, Unit::Nano, "Times.");
        times.histogram(&[("p", "q")], &SHORT, &histogram.read());
        let text = page.into_text();
        assert!(
            text.starts_with(
                "# HELP a_total An a.\n# TYPE a_total counter\na_total 5\n# HELP b A b.\n# TYPE b gauge\nb 1\n\
             # HELP c_dollars_total Money.\n# TYPE c_dollars_total counter\n\
             c_dollars_total{provider=\"a\\\"b\\\\c\\nd\",x=\"y\"} 1.250000001\nc_dollars_total 3\n\
             # HELP d_seconds Times.\n# TYPE d_seconds histogram\n\
             d_seconds_bucket{p=\"q\",le=\"0.000025\"} 1\nd_seconds_bucket{p=\"q\",le=\"0.00005\"} 1\n"
            ),
            "{text}"
        );
        assert!(
            text.ends_with(
                "d_seconds_bucket{p=\"q\",le=\"10\"} 1\nd_seconds_bucket{p=\"q\",le=\"+Inf\"} 2\n\
             d_seconds_sum{p=\"q\"} 11.000025001\nd_seconds_count{p=\"q\"} 2\n"
            ),
            "{text}"
        );
    }
}
