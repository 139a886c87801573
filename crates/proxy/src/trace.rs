//! What traces need of a request: who is its parent, and when its stages began and ended.
//!
//! Off, which is the default, all of this is one `None` per request. On, each request makes one [`Trace`], which is handed on
//! when the last stage that knows something of it lets go, be that the client's answer or what is read on after the client
//! has gone. It never waits: whoever takes it has room for it, or drops it.
//!
//! Never in it: a body, a query, a header's value, a key.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use till_core::fields::Fields;
use till_core::hex::to_hex;
use till_core::redact::Redactor;
use till_core::token::SCOPED_KEY_PREFIX;
use till_store::TokenCounts;

/// How requests are traced.
#[derive(Clone)]
pub struct Tracing {
    /// Which requests, where their clients don't say it.
    pub sample: SampleRatio,
    /// Whether providers learn of the span that their answer belongs to.
    pub propagate: bool,
    /// Takes a finished trace. It must not wait.
    pub sink: Arc<dyn Fn(Box<RequestTrace>) + Send + Sync>,
}

/// A part of all requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRatio(u32);

impl Default for SampleRatio {
    fn default() -> Self {
        Self::ALL
    }
}

impl SampleRatio {
    /// All of them.
    pub const ALL: Self = Self(Self::WHOLE);
    const WHOLE: u32 = 1_000_000_000;

    /// A decimal number from 0 to 1, with at most nine decimals.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
        if !matches!(whole, "0" | "1") || part.len() > 9 || !is_number(part) || text.ends_with('.') {
            return None;
        }
        let part: u32 = format!("{part:0<9}").parse().ok()?;
        let ratio = part + if whole == "1" { Self::WHOLE } else { 0 };
        (ratio <= Self::WHOLE).then_some(Self(ratio))
    }

    /// Whether the trace of this id is one of them: the same everywhere, by the random end of the id.
    fn takes(self, id: &TraceId) -> bool {
        let random = id.0.last_chunk().map_or(0, |last| u64::from_be_bytes(*last)) & RANDOM_MASK;
        u128::from(random) * u128::from(Self::WHOLE) < u128::from(self.0) * u128::from(RANDOM_MASK + 1)
    }
}

/// 56 bits are random in every id, W3C Trace Context level 2, section 2.2.2.
const RANDOM_MASK: u64 = (1 << 56) - 1;

/// Names a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// Names a span in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// A time span of a stage, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageTimes {
    /// Its name.
    pub id: SpanId,
    /// When it began.
    pub begin: u64,
    /// When it ended.
    pub end: u64,
}

/// A request that is over.
#[derive(Debug)]
pub struct RequestTrace {
    /// The trace, which is that of the client if it said one.
    pub trace_id: TraceId,
    /// The client's span.
    pub parent: Option<SpanId>,
    /// The whole request.
    pub request: StageTimes,
    /// Waiting for units to be set aside.
    pub hold: Option<StageTimes>,
    /// From looking for a connection to the end of the answer.
    pub upstream: Option<StageTimes>,
    /// From the head of the answer to its end.
    pub stream: Option<StageTimes>,
    /// What else is known.
    pub facts: TraceFacts,
}

/// What is known of a request besides times.
#[derive(Clone, Debug, Default)]
pub struct TraceFacts {
    /// The id that the answer carries.
    pub request_id: String,
    /// The method, or `_OTHER`.
    pub method: &'static str,
    /// The path, with keys masked.
    pub path: String,
    /// The other end of the connection.
    pub peer: Option<SocketAddr>,
    /// Who sent it, if that can be told.
    pub client: Option<IpAddr>,
    /// Status of the answer to the client.
    pub status: Option<u16>,
    /// Why till refused it.
    pub denial: Option<&'static str>,
    /// How its answer ended, if not in the ordinary way.
    pub cut: Option<&'static str>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Public id of the key.
    pub key: Option<String>,
    /// Id of the provider.
    pub provider: Option<String>,
    /// Host and port of the provider, and whether by TLS.
    pub server: Option<(String, u16, bool)>,
    /// Name of the endpoint in the tables.
    pub endpoint: Option<&'static str>,
    /// The model that was asked.
    pub model: Option<String>,
    /// The model that answered.
    pub answer_model: Option<String>,
    /// Status of the provider's answer.
    pub upstream_status: Option<u16>,
    /// Why there is no answer of the provider.
    pub upstream_error: Option<&'static str>,
    /// What the answer says was used.
    pub tokens: Option<TokenCounts>,
    /// What the key was charged, in nano-dollars.
    pub spend_nanos: u64,
    /// Whether the answer was a stream of events.
    pub is_stream: bool,
}

/// See the module documentation.
pub(crate) struct Trace {
    id: TraceId,
    parent: Option<SpanId>,
    is_sampled: bool,
    /// What the ratio says of it, whatever the client says.
    is_sampled_here: bool,
    spans: [SpanId; 4],
    begun: Instant,
    /// The same since 1970.
    begun_at: Duration,
    tracing: Tracing,
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    ended: Option<Instant>,
    hold: Option<(Instant, Instant)>,
    upstream_begin: Option<Instant>,
    stream_begin: Option<Instant>,
    upstream_end: Option<Instant>,
    facts: TraceFacts,
    is_unwanted: bool,
}

impl Trace {
    /// For a request whose head had come at `begun`; `None` when the operating system gives no randomness.
    pub(crate) fn begin(tracing: &Tracing, fields: &Fields, begun: Instant) -> Option<Arc<Self>> {
        let mut random = [0; 48];
        getrandom::fill(&mut random).ok()?;
        let spans = std::array::from_fn(|n| {
            let mut id = [0; 8];
            id.copy_from_slice(&random[16 + 8 * n..24 + 8 * n]);
            // All zeros name nothing.
            id[7] |= 1;
            SpanId(id)
        });
        let mut own = [0; 16];
        own.copy_from_slice(&random[..16]);
        own[0] |= 1;
        let own = TraceId(own);
        let parent = parent(fields);
        let id = parent.map_or(own, |parent| parent.trace);
        let is_sampled_here = tracing.sample.takes(&own);
        let is_sampled = parent.map_or(is_sampled_here, |parent| parent.is_sampled);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Arc::new(Self {
            id,
            parent: parent.map(|parent| parent.span),
            is_sampled,
            is_sampled_here,
            spans,
            begun,
            begun_at: now.saturating_sub(begun.elapsed()),
            tracing: tracing.clone(),
            marks: Mutex::default(),
        }))
    }

    /// Whether anybody will see it.
    pub(crate) fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// The id of the trace, in hexadecimal.
    pub(crate) fn id(&self) -> String {
        to_hex(&self.id.0)
    }

    /// Says to the provider which span its answer belongs to, where that is wanted. What the client said stays unless there
    /// is a span to be named in its place.
    pub(crate) fn propagate(&self, fields: &mut Fields) {
        if !self.tracing.propagate || !self.is_sampled {
            return;
        }
        fields.remove(TRACEPARENT);
        if self.parent.is_none() {
            // It belongs to a parent that there is not.
            fields.remove("tracestate");
        }
        let span = self.spans[UPSTREAM];
        fields.push(TRACEPARENT, format!("00-{}-{}-01", self.id(), to_hex(&span.0)));
    }

    /// It is none that anybody wants to see.
    pub(crate) fn forget(&self) {
        self.marks().is_unwanted = true;
    }

    /// Units were asked for from then until now.
    pub(crate) fn held(&self, begin: Instant) {
        let now = Instant::now();
        let mut marks = self.marks();
        // A second question belongs to the same stage.
        let begin = marks.hold.map_or(begin, |(first, _)| first);
        marks.hold = Some((begin, now));
    }

    /// It is about to be sent.
    pub(crate) fn sending(&self) {
        self.marks().upstream_begin = Some(Instant::now());
    }

    /// The head of the answer has come.
    pub(crate) fn answered(&self, status: u16, now: Instant, is_stream: bool) {
        let mut marks = self.marks();
        marks.stream_begin = Some(now);
        (marks.facts.upstream_status, marks.facts.is_stream) = (Some(status), is_stream);
    }

    /// There is no answer of the provider.
    pub(crate) fn failed(&self, code: &'static str) {
        let mut marks = self.marks();
        marks.upstream_end = Some(Instant::now());
        marks.facts.upstream_error = Some(code);
    }

    /// The answer has ended, and this is what it says.
    pub(crate) fn settled(
        &self,
        ended: Instant,
        tokens: TokenCounts,
        spend_nanos: u64,
        model: Option<&str>,
        redactor: &Redactor,
    ) {
        let mut marks = self.marks();
        marks.upstream_end = Some(ended);
        marks.facts.tokens = (tokens != TokenCounts::default()).then_some(tokens);
        marks.facts.spend_nanos = spend_nanos;
        marks.facts.answer_model = model.map(|model| clean(model, Some(redactor)));
    }

    /// The client has its answer. `know` fills in what is known of the request.
    pub(crate) fn ended(&self, know: impl FnOnce(&mut TraceFacts)) {
        let mut marks = self.marks();
        marks.ended = Some(Instant::now());
        know(&mut marks.facts);
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        // Every change is an assignment.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_1970(&self, at: Instant) -> u64 {
        let time = self.begun_at + at.saturating_duration_since(self.begun);
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Places of the spans' ids.
const REQUEST: usize = 0;
const HOLD: usize = 1;
const UPSTREAM: usize = 2;
const STREAM: usize = 3;

impl Drop for Trace {
    fn drop(&mut self) {
        let marks = std::mem::take(&mut *self.marks());
        // Who has no key does not decide what is kept.
        let is_wanted = self.is_sampled && (self.is_sampled_here || marks.facts.key.is_some());
        if !is_wanted || marks.is_unwanted {
            return;
        }
        let now = Instant::now();
        let stage = |place: usize, begin: Instant, end: Instant| StageTimes {
            id: self.spans[place],
            begin: self.since_1970(begin),
            end: self.since_1970(end.max(begin)),
        };
        let upstream_end = marks.upstream_end.unwrap_or(now);
        (self.tracing.sink)(Box::new(RequestTrace {
            trace_id: self.id,
            parent: self.parent,
            request: stage(REQUEST, self.begun, marks.ended.unwrap_or(now)),
            hold: marks.hold.map(|(begin, end)| stage(HOLD, begin, end)),
            upstream: marks.upstream_begin.map(|begin| stage(UPSTREAM, begin, upstream_end)),
            stream: marks.stream_begin.map(|begin| stage(STREAM, begin, upstream_end)),
            facts: marks.facts,
        }));
    }
}

/// Bytes of a name that are kept: more than any model's has.
const NAME_BYTES_MAX: usize = 256;

/// A name that the client or the provider says, without keys in it and not longer than names are.
pub(crate) fn clean(text: &str, redactor: Option<&Redactor>) -> String {
    if text.contains(SCOPED_KEY_PREFIX) {
        return "[scoped key]".to_owned();
    }
    match redactor.and_then(|redactor| redactor.redact_all(text.as_bytes())) {
        Some(masked) => start(&String::from_utf8_lossy(&masked), NAME_BYTES_MAX).to_owned(),
        None => start(text, NAME_BYTES_MAX).to_owned(),
    }
}

/// At most so many bytes of a text, whole characters.
pub(crate) fn start(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The header of W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// What the client says that a request belongs to.
#[derive(Clone, Copy)]
struct Parent {
    trace: TraceId,
    span: SpanId,
    is_sampled: bool,
}

/// W3C Trace Context, section 3.2: what is not right counts as absent, and so does what stands there twice.
fn parent(fields: &Fields) -> Option<Parent> {
    let mut values = fields.get_all(TRACEPARENT);
    let value = std::str::from_utf8(values.next()?).ok()?;
    if values.next().is_some() {
        return None;
    }
    let mut parts = value.split('-');
    let version: [u8; 1] = bytes_of(parts.next()?)?;
    let (trace, span) = (bytes_of(parts.next()?)?, bytes_of(parts.next()?)?);
    let flags: [u8; 1] = bytes_of(parts.next()?)?;
    let is_known = version[0] != 0xff && (version[0] != 0 || parts.next().is_none());
    let is_named = trace != [0; 16] && span != [0; 8];
    (is_known && is_named).then_some(Parent {
        trace: TraceId(trace),
        span: SpanId(span),
        is_sampled: flags[0] & 1 == 1,
    })
}

/// Lower-case hexadecimal digits of exactly this many bytes.
fn bytes_of<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let is_right = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * LENGTH || !text.bytes().all(is_right) {
        return None;
    }
    let mut bytes = [0; LENGTH];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use till_core::fields::Fields;

    use super::{NAME_BYTES_MAX, SampleRatio, TraceId, clean, parent};

    #[test]
    fn names_are_as_long_as_names_are() {
        assert_eq!(clean("gpt-5-mini", None), "gpt-5-mini");
        assert_eq!(clean("till_sk_abc", None), "[scoped key]");
        assert_eq!(clean(&"ä".repeat(500), None), "ä".repeat(NAME_BYTES_MAX / 2));
    }

    #[test]
    fn a_ratio_is_a_decimal_number() {
        for (text, ratio) in [
            ("0", Some(0)),
            ("1", Some(1_000_000_000)),
            ("0.1", Some(100_000_000)),
            ("1.0", Some(1_000_000_000)),
            ("0.000000001", Some(1)),
            ("0.0000000001", None),
            ("1.1", None),
            ("2", None),
            ("-1", None),
            ("1.", None),
            (".5", None),
            ("0.+1", None),
            ("", None),
        ] {
            assert_eq!(SampleRatio::parse(text), ratio.map(SampleRatio), "{text}");
        }
    }

    #[test]
    fn a_ratio_takes_its_part_of_the_ids() {
        for (text, expected) in [("0", 0), ("0.25", 256), ("1", 1024)] {
            let ratio = SampleRatio::parse(text).expect("a ratio");
            let taken = (0..1024_u64).filter(|number| {
                let mut id = [0xff; 16];
                // Spread over all that there are.
                id[9..].copy_from_slice(&(number << 46).to_be_bytes()[1..]);
                ratio.takes(&TraceId(id))
            });
            assert_eq!(taken.count(), expected, "{text}");
        }
    }

    #[test]
    fn a_parent_is_read_as_the_recommendation_says() {
        const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
        const SPAN: &str = "b7ad6b7169203331";
        let check = |value: &str, expected: Option<bool>| {
            let fields = Fields::from_iter([("traceparent", value)]);
            assert_eq!(parent(&fields).map(|parent| parent.is_sampled), expected, "{value}");
        };
        check(&format!("00-{TRACE}-{SPAN}-01"), Some(true));
        check(&format!("00-{TRACE}-{SPAN}-00"), Some(false));
        check(&format!("00-{TRACE}-{SPAN}-03"), Some(true));
        // Later versions may have more behind it.
        check(&format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings"), Some(true));
        for wrong in [
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}é-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            String::new(),
        ] {
            check(&wrong, None);
        }
        let twice = format!("00-{TRACE}-{SPAN}-01");
        assert!(parent(&Fields::from_iter([("traceparent", &*twice), ("traceparent", &*twice)])).is_none());
    }
}
