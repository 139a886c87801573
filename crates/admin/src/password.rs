//! Passwords of members: Argon2id with the parameters that OWASP recommends (Password Storage Cheat Sheet: 19 MiB, 2 passes,
//! 1 lane), which are the defaults of the library, in the PHC string format.
//!
//! Invariant: whoever asks, few of them are worked on at once. The others wait, and take neither memory nor a thread.

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use till_core::hex::to_hex;
use till_store::Member;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::authenticate::domain_hash;
use crate::entity_json::random;
use crate::error::{ApiError, ErrorCode};
use crate::key_create::invalid;

/// Shortest password, in characters, and longest, in bytes.
const CHARS_MIN: usize = 12;
const BYTES_MAX: usize = 1024;

/// Passwords that are worked on at once: each takes 19 MiB and some ten milliseconds.
pub(crate) const AT_ONCE: usize = 2;

/// A hash of no password, for logins that nobody has: looking takes as long as with one.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whether a text may be a password.
///
/// # Errors
/// It is too short or too long.
pub(crate) fn check(name: &str, text: &str) -> Result<(), ApiError> {
    if text.chars().count() < CHARS_MIN || text.len() > BYTES_MAX {
        let rule = format!("has at least {CHARS_MIN} characters and at most {BYTES_MAX} bytes");
        return Err(invalid(name, &rule));
    }
    Ok(())
}

/// What works on passwords.
pub(crate) struct Passwords {
    places: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { places: Semaphore::new(AT_ONCE) }
    }
}

impl Passwords {
    /// Waits for one's turn.
    pub(crate) async fn place(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.places.acquire().await.map_err(|_| ApiError::plain(ErrorCode::InternalError))
    }

    /// What is kept of a password. Takes some ten milliseconds, on a thread where that hurts nobody.
    pub(crate) async fn hash(&self, text: String) -> Result<String, ApiError> {
        let salt: [u8; 16] = random()?;
        let _place = self.place().await?;
        let task = tokio::task::spawn_blocking(move || {
            let salt = SaltString::encode_b64(&salt).ok()?;
            Argon2::default().hash_password(text.as_bytes(), &salt).ok().map(|hash| hash.to_string())
        });
        task.await.ok().flatten().ok_or_else(|| ApiError::plain(ErrorCode::InternalError))
    }

    /// Whether a password is that of a member. Takes the same time for one who has none, or for nobody.
    pub(crate) async fn is_right(&self, member: Option<&Member>, text: String) -> Result<bool, ApiError> {
        let kept = member.and_then(|member| member.password.clone());
        let is_there = kept.is_some();
        let kept = kept.unwrap_or_else(|| NOBODY.to_owned());
        let _place = self.place().await?;
        let task = tokio::task::spawn_blocking(move || {
            let Ok(hash) = PasswordHash::new(&kept) else { return false };
            text.len() <= BYTES_MAX && Argon2::default().verify_password(text.as_bytes(), &hash).is_ok()
        });
        let is_right = task.await.map_err(|_| ApiError::plain(ErrorCode::InternalError))?;
        Ok(is_right && is_there)
    }
}

/// What tells passwords apart without being one: sessions carry it.
pub(crate) fn stamp(member: &Member) -> String {
    let password = member.password.as_deref().unwrap_or_default();
    to_hex(&domain_hash(b"till/v1/password-stamp", password.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use till_core::role::Role;
    use till_store::Member;

    use super::{AT_ONCE, NOBODY, Passwords, check, stamp};

    fn member(password: Option<String>) -> Member {
        Member {
            login: "ada".into(),
            name: String::new(),
            role: Role::Viewer,
            project: None,
            policy: Default::default(),
            password,
        }
    }

    #[tokio::test]
    async fn only_the_right_one_fits() {
        let passwords = Passwords::default();
        let kept = passwords.hash("correct horse battery".into()).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        let ada = member(Some(kept));
        assert!(passwords.is_right(Some(&ada), "correct horse battery".into()).await.unwrap());
        for wrong in ["", "correct horse batterz", "correct horse battery "] {
            assert!(!passwords.is_right(Some(&ada), wrong.into()).await.unwrap(), "{wrong}");
        }
        assert!(argon2::PasswordHash::new(NOBODY).is_ok(), "looking takes as long as with one");
        for nobody in [None, Some(&member(None))] {
            assert!(!passwords.is_right(nobody, String::new()).await.unwrap());
        }
        let again = member(Some(passwords.hash("correct horse battery".into()).await.unwrap()));
        assert_ne!(stamp(&ada), stamp(&again), "each has a salt of its own");
    }

    #[tokio::test]
    async fn few_are_worked_on_at_once() {
        let passwords = Passwords::default();
        let mut hashing = pin!(passwords.hash("correct horse battery".into()));
        let mut looking = pin!(passwords.is_right(None, "correct horse battery".into()));
        // Begun, and each in a place.
        let context = &mut Context::from_waker(Waker::noop());
        assert!(hashing.as_mut().poll(context).is_pending() && looking.as_mut().poll(context).is_pending());
        assert_eq!((passwords.places.available_permits(), AT_ONCE), (0, 2));
        hashing.await.unwrap();
        looking.await.unwrap();
        assert_eq!(passwords.places.available_permits(), AT_ONCE);
    }

    #[test]
    fn short_ones_are_refused() {
        assert!(check("password", "twelve chars").is_ok());
        assert!(check("password", "eleven char").is_err());
        assert!(check("password", &"x".repeat(1025)).is_err());
    }
}
