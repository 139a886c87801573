//! What may be minted in a project or by a member, and how much its keys may use together.
//!
//! - A *ceiling* bounds the sum over all keys of its owner within a window of time. Each window is an account of the
//!   ledger like that of a key ([`crate::ledger::AccountId::Ceiling`]): what a key holds must fit every ceiling above it.
//! - The other rules are looked at when a key is made or changed. A rule that becomes stricter later does not change the
//!   keys that there are.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ledger::AccountId;
use crate::lifetime::Lifetime;
use crate::limit::{Dimension, LIMIT_MAX, Limits};
use crate::scope::{Glob, Scope};
use crate::time::{Month, Timestamp};

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyOwner {
    /// A project.
    Project,
    /// A member, or an admin token that stands for itself: whoever makes keys.
    Maker,
    /// An upstream credential that keys are minted from by name.
    Credential,
}

impl PolicyOwner {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Project, Self::Maker, Self::Credential];

    /// The word that tells their accounts apart.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Maker => "maker",
            Self::Credential => "credential",
        }
    }

    /// Says no.
    fn forbids(self, what: fmt::Arguments<'_>) -> Result<(), NotAllowed> {
        Err(NotAllowed(format!("{what} (a rule for {})", self.named())))
    }

    /// As messages call it.
    fn named(self) -> &'static str {
        match self {
            Self::Project => "the project",
            Self::Maker => "whoever makes the key",
            Self::Credential => "the upstream credential",
        }
    }
}

/// A window of time that a ceiling counts in. Days and months are those of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// From midnight to midnight.
    Day,
    /// A calendar month.
    Month,
    /// For ever.
    Lifetime,
}

impl Window {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Lifetime];

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Lifetime => "lifetime",
        }
    }

    /// Number of the window that a moment lies in.
    fn number(self, at: Timestamp) -> u64 {
        match self {
            Self::Day => at.day(),
            Self::Month => Month::of(at).0,
            Self::Lifetime => 0,
        }
    }

    /// The days, since 1970-01-01, that the window of a moment has: the first, and the first after it. `None` is for ever.
    pub fn days(self, at: Timestamp) -> Option<(u64, u64)> {
        match self {
            Self::Day => Some((at.day(), at.day() + 1)),
            Self::Month => Some(Month::of(at).days()),
            Self::Lifetime => None,
        }
    }

    /// The account of the owner's window that a moment lies in: 16 bytes of SHA-256 over what it is, so that nothing has to
    /// be kept to find it.
    pub fn account(self, owner: PolicyOwner, id: &str, at: Timestamp) -> AccountId {
        let mut hash = Sha256::new();
        hash.update(b"till/v1/ceiling");
        for part in [owner.as_str(), id, self.as_str()] {
            // usize has at most 64 bits on every platform Rust supports.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update(self.number(at).to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let (id, _) = digest.split_first_chunk().expect("32 bytes begin with 16");
        AccountId::Ceiling(*id)
    }
}

/// What all keys of an owner may use together, per window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ceilings {
    /// In a day.
    pub day: Limits,
    /// In a calendar month.
    pub month: Limits,
    /// In all.
    pub lifetime: Limits,
}

impl Ceilings {
    /// The limits within a window.
    pub fn of(&self, window: Window) -> Limits {
        match window {
            Window::Day => self.day,
            Window::Month => self.month,
            Window::Lifetime => self.lifetime,
        }
    }

    /// The windows that have a limit, with it.
    pub fn set(&self) -> impl Iterator<Item = (Window, Limits)> + '_ {
        Window::ALL
            .into_iter()
            .map(|window| (window, self.of(window)))
            .filter(|(_, limits)| *limits != Limits::default())
    }
}

/// The rules of a project or a member. The default allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// What all its keys may use together.
    pub ceilings: Ceilings,
    /// Keys that are neither revoked nor expired, at a time.
    pub live_keys: Option<u64>,
    /// Providers that keys may be for.
    pub providers: Option<Vec<String>>,
    /// Models that keys may ask. A key that names none gets these.
    pub models: Option<Vec<Glob>>,
    /// A key has these limits or lower ones.
    pub key_limits: Limits,
    /// A key ends within so many seconds.
    pub key_lifetime_seconds: Option<u64>,
}

/// What a policy looks at of a key.
#[derive(Clone, Copy, Debug)]
pub struct Proposed<'a> {
    /// Id of its provider.
    pub provider: &'a str,
    /// Its limits.
    pub limits: Limits,
    /// Whether requests pass that nothing bounds, so that limits in tokens and money can be exceeded.
    pub allow_unbounded: bool,
    /// Its bounds in time.
    pub lifetime: &'a Lifetime,
    /// What it may call.
    pub scope: &'a Scope,
}

/// A rule that a key breaks, as a sentence that names the field and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAllowed(String);

impl Policy {
    /// Whether it allows everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the numbers in it can be counted with.
    ///
    /// # Errors
    /// A ceiling or limit is above [`LIMIT_MAX`].
    pub fn check(&self) -> Result<(), NotAllowed> {
        let all = [self.ceilings.day, self.ceilings.month, self.ceilings.lifetime, self.key_limits];
        let too_high = |limits: &Limits| {
            Dimension::ALL.iter().any(|one| limits.of(*one).is_some_and(|limit| limit > LIMIT_MAX))
        };
        match all.iter().any(too_high) {
            true => Err(NotAllowed(format!("a limit is above {LIMIT_MAX}"))),
            false => Ok(()),
        }
    }

    /// Gives a key that names no models those that the policy has.
    pub fn narrow(&self, scope: &mut Scope) {
        if scope.models.is_none() {
            scope.models.clone_from(&self.models);
        }
    }

    /// Whether a key may be made or become so. `owner` is named in the message; `now` is when its life is counted from.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn allows(&self, owner: PolicyOwner, key: Proposed<'_>, from: Timestamp) -> Result<(), NotAllowed> {
        if let Some(providers) = &self.providers
            && !providers.iter().any(|provider| provider == key.provider)
        {
            return owner.forbids(format_args!("`provider` must be one of {}", providers.join(", ")));
        }
        if let Some(models) = &self.models
            && !key.scope.models.as_ref().is_some_and(|asked| asked.iter().all(|one| is_within(one, models)))
        {
            let models: Vec<&str> = models.iter().map(Glob::as_str).collect();
            return owner.forbids(format_args!("`scope.models` must be within {}", models.join(", ")));
        }
        self.allows_limits(owner, key.limits, key.allow_unbounded)?;
        self.allows_lifetime(owner, key.lifetime, from)
    }

    /// Whether a key may have these limits. With `allow_unbounded` those in tokens and money can be exceeded, so that none
    /// is low enough.
    ///
    /// # Errors
    /// One of them is too high, is missing or can be exceeded.
    pub fn allows_limits(
        &self,
        owner: PolicyOwner,
        limits: Limits,
        allow_unbounded: bool,
    ) -> Result<(), NotAllowed> {
        if allow_unbounded && (self.key_limits.tokens.is_some() || self.key_limits.spend_nanos.is_some()) {
            return owner.forbids(format_args!(
                "`danger_allow_unbounded` must not be set where `key_limits` has tokens or money, which it would let a key \
                 exceed"
            ));
        }
        for dimension in Dimension::ALL {
            if let Some(most) = self.key_limits.of(dimension)
                && limits.of(dimension).is_none_or(|limit| limit > most)
            {
                let most = dimension.amount(most.into());
                return owner.forbids(format_args!("a key needs a limit of at most {most}"));
            }
        }
        Ok(())
    }

    /// Whether a key that was made at `from` may have these bounds in time.
    ///
    /// # Errors
    /// It ends too late, or not at all.
    pub fn allows_lifetime(
        &self,
        owner: PolicyOwner,
        lifetime: &Lifetime,
        from: Timestamp,
    ) -> Result<(), NotAllowed> {
        if let Some(most) = self.key_lifetime_seconds {
            let latest = Timestamp(from.0.saturating_add(most.saturating_mul(1000)));
            if lifetime.expires_at.is_none_or(|end| end > latest) {
                return owner.forbids(format_args!(
                    "a key must expire within {most} seconds of being made, with `ttl_seconds` or `expires_at`"
                ));
            }
        }
        Ok(())
    }

    /// Whether one more key may be made where there are `live` of them.
    ///
    /// # Errors
    /// It may not.
    pub fn allows_one_more(&self, owner: PolicyOwner, live: u64) -> Result<(), NotAllowed> {
        match self.live_keys {
            Some(most) if live >= most => Err(NotAllowed(format!(
                "{} has {live} live keys and may have {most}: revoke one first",
                owner.named()
            ))),
            _ => Ok(()),
        }
    }
}

/// Whether a name or pattern is within those that are allowed: it stands there, or it is a name that one of them matches.
/// A pattern inside another pattern is not told apart from one that is not, so it is a no.
fn is_within(asked: &Glob, allowed: &[Glob]) -> bool {
    let is_name = !asked.as_str().contains('*');
    allowed.iter().any(|glob| glob == asked || is_name && glob.matches(asked.as_str()))
}

#[cfg(test)]
mod tests {
    use super::{Ceilings, Policy, PolicyOwner, Proposed, Window};
    use crate::lifetime::Lifetime;
    use crate::limit::{LIMIT_MAX, Limits};
    use crate::scope::{Glob, Scope};
    use crate::time::Timestamp;

    const DAY: u64 = 86_400_000;

    fn globs(all: &[&str]) -> Option<Vec<Glob>> {
        Some(all.iter().map(|one| Glob::parse(one).unwrap()).collect())
    }

    #[test]
    fn windows_have_accounts_of_their_own() {
        let noon = Timestamp(20_000 * DAY + DAY / 2);
        let of = |owner, id, window: Window, at| window.account(owner, id, at);
        let (project, maker) = (PolicyOwner::Project, PolicyOwner::Maker);
        let day = of(project, "a", Window::Day, noon);
        assert_eq!(day, of(project, "a", Window::Day, Timestamp(20_001 * DAY - 1)));
        for other in [
            of(project, "a", Window::Day, Timestamp(20_001 * DAY)),
            of(project, "a", Window::Month, noon),
            of(project, "a", Window::Lifetime, noon),
            of(project, "b", Window::Day, noon),
            of(maker, "a", Window::Day, noon),
        ] {
            assert_ne!(day, other);
        }
        assert_eq!(
            of(project, "a", Window::Lifetime, noon),
            of(project, "a", Window::Lifetime, Timestamp(40_000 * DAY))
        );
        assert_eq!(Window::Day.days(noon), Some((20_000, 20_001)));
        // 2024-10-04.
        assert_eq!(Window::Month.days(noon), Some((19_997, 20_028)));
    }

    #[test]
    fn only_windows_with_a_limit_count() {
        let limits = Limits { spend_nanos: Some(5), ..Limits::default() };
        let ceilings = Ceilings { month: limits, ..Ceilings::default() };
        assert_eq!(ceilings.set().collect::<Vec<_>>(), [(Window::Month, limits)]);
    }

    /// Each rule, by a key that just keeps it and one that does not.
    #[test]
    fn every_rule_can_say_no() {
        let policy = Policy {
            providers: Some(vec!["openai".into()]),
            models: globs(&["gpt-5*", "o3"]),
            key_limits: Limits { activations: Some(10), spend_nanos: Some(100), ..Limits::default() },
            key_lifetime_seconds: Some(60),
            ..Policy::default()
        };
        let good = Limits { activations: Some(10), spend_nanos: Some(100), tokens: None };
        let until = |millis| Lifetime { expires_at: Some(Timestamp(millis)), ..Lifetime::default() };
        let models = |all: &[&str]| Scope { models: globs(all), ..Scope::default() };
        let check = |provider, limits, lifetime: Lifetime, scope: Scope, part: Option<&str>| {
            let key =
                Proposed { provider, limits, allow_unbounded: false, lifetime: &lifetime, scope: &scope };
            let said = policy.allows(PolicyOwner::Project, key, Timestamp(1_000)).err();
            match part {
                None => assert_eq!(said, None),
                Some(part) => assert!(said.as_ref().unwrap().to_string().contains(part), "{said:?} {part}"),
            }
        };
        check("openai", good, until(61_000), models(&["gpt-5*", "gpt-5-mini", "o3"]), None);
        check("anthropic", good, until(61_000), models(&["o3"]), Some("`provider`"));
        check("openai", good, until(61_001), models(&["o3"]), Some("expire within 60 seconds"));
        check("openai", good, Lifetime::default(), models(&["o3"]), Some("expire within 60 seconds"));
        for scope in [
            Scope::default(),
            models(&["o3", "o4"]),
            models(&["*"]),
            models(&["gpt-*"]),
            models(&["gpt-5-*"]),
        ] {
            check("openai", good, until(61_000), scope, Some("`scope.models`"));
        }
        let over = Limits { activations: Some(11), ..good };
        check("openai", over, until(61_000), models(&["o3"]), Some("at most 10 activations"));
        let none = Limits { spend_nanos: None, ..good };
        check("openai", none, until(61_000), models(&["o3"]), Some("at most $0.0000001"));

        let mut scope = Scope::default();
        policy.narrow(&mut scope);
        assert_eq!(scope.models, policy.models);
        let mut own = models(&["o3"]);
        policy.narrow(&mut own);
        assert_eq!(own, models(&["o3"]));
    }

    #[test]
    fn limits_that_must_be_kept_can_not_be_exceeded() {
        let limits = Limits { activations: Some(1), tokens: Some(1), spend_nanos: Some(1) };
        for (most, is_allowed) in [
            (Limits::default(), true),
            (Limits { activations: Some(1), ..Limits::default() }, true),
            (Limits { tokens: Some(1), ..Limits::default() }, false),
            (Limits { spend_nanos: Some(1), ..Limits::default() }, false),
        ] {
            let policy = Policy { key_limits: most, ..Policy::default() };
            let allows = |unbounded| policy.allows_limits(PolicyOwner::Maker, limits, unbounded);
            assert_eq!((allows(false).is_ok(), allows(true).is_ok()), (true, is_allowed), "{most:?}");
        }
    }

    #[test]
    fn live_keys_are_counted() {
        let policy = Policy { live_keys: Some(2), ..Policy::default() };
        assert!(policy.allows_one_more(PolicyOwner::Maker, 1).is_ok());
        let no = policy.allows_one_more(PolicyOwner::Maker, 2).unwrap_err();
        assert!(no.to_string().contains("whoever makes the key has 2 live keys"), "{no}");
    }

    #[test]
    fn is_kept_as_json_and_checked() {
        let text = r#"{"ceilings":{"day":{"spendNanos":5}},"liveKeys":3}"#;
        let policy: Policy = serde_json::from_str(text).unwrap();
        assert_eq!(policy.ceilings.day.spend_nanos, Some(5));
        let again: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        assert_eq!(again, policy);
        assert!(serde_json::from_str::<Policy>(r#"{"liveKey":3}"#).is_err());
        assert!(policy.check().is_ok());
        let too_high = Limits { tokens: Some(LIMIT_MAX + 1), ..Limits::default() };
        assert!(Policy { key_limits: too_high, ..Policy::default() }.check().is_err());
    }
}
