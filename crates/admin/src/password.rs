//! Passwords of members: Argon2id with the parameters that OWASP recommends (Password Storage Cheat Sheet: 19 MiB, 2 passes,
//! 1 lane), which are the defaults of the library, in the PHC string format.

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _};
use till_core::hex::to_hex;
use till_store::Member;

use crate::authenticate::domain_hash;
use crate::entity_json::random;
use crate::error::{ApiError, ErrorCode};
use crate::key_create::invalid;

/// Shortest password, in characters, and longest, in bytes.
const CHARS_MIN: usize = 12;
const BYTES_MAX: usize = 1024;

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

/// What is kept of a password. Takes some ten milliseconds, on a thread where that hurts nobody.
pub(crate) async fn hash(text: String) -> Result<String, ApiError> {
    let salt: [u8; 16] = random()?;
    let task = tokio::task::spawn_blocking(move || {
        let salt = SaltString::encode_b64(&salt).ok()?;
        Argon2::default().hash_password(text.as_bytes(), &salt).ok().map(|hash| hash.to_string())
    });
    task.await.ok().flatten().ok_or_else(|| ApiError::plain(ErrorCode::InternalError))
}

/// Whether a password is that of a member. Takes the same time for one who has none, or for nobody.
pub(crate) async fn is_right(member: Option<&Member>, text: String) -> Result<bool, ApiError> {
    let kept = member.and_then(|member| member.password.clone());
    let is_there = kept.is_some();
    let kept = kept.unwrap_or_else(|| NOBODY.to_owned());
    let task = tokio::task::spawn_blocking(move || {
        let Ok(hash) = PasswordHash::new(&kept) else { return false };
        text.len() <= BYTES_MAX && Argon2::default().verify_password(text.as_bytes(), &hash).is_ok()
    });
    let is_right = task.await.map_err(|_| ApiError::plain(ErrorCode::InternalError))?;
    Ok(is_right && is_there)
}

/// What tells passwords apart without being one: sessions carry it.
pub(crate) fn stamp(member: &Member) -> String {
    let password = member.password.as_deref().unwrap_or_default();
    to_hex(&domain_hash(b"till/v1/password-stamp", password.as_bytes()))
}

#[cfg(test)]
mod tests {
    use till_core::role::Role;
    use till_store::Member;

    use super::{NOBODY, check, hash, is_right, stamp};

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
        let kept = hash("correct horse battery".into()).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        let ada = member(Some(kept));
        assert!(is_right(Some(&ada), "correct horse battery".into()).await.unwrap());
        for wrong in ["", "correct horse batterz", "correct horse battery "] {
            assert!(!is_right(Some(&ada), wrong.into()).await.unwrap(), "{wrong}");
        }
        assert!(argon2::PasswordHash::new(NOBODY).is_ok(), "looking takes as long as with one");
        for nobody in [None, Some(&member(None))] {
            assert!(!is_right(nobody, String::new()).await.unwrap());
        }
        let again = member(Some(hash("correct horse battery".into()).await.unwrap()));
        assert_ne!(stamp(&ada), stamp(&again), "each has a salt of its own");
    }

    #[test]
    fn short_ones_are_refused() {
        assert!(check("password", "twelve chars").is_ok());
        assert!(check("password", "eleven char").is_err());
        assert!(check("password", &"x".repeat(1025)).is_err());
    }
}
