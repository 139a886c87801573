//! Admin tokens, `till_admin_…`: what administers, and what of it is stored.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::checked_text::{self, TextError};
use crate::secret::Secret;

/// What every admin token starts with.
pub const ADMIN_TOKEN_PREFIX: &str = "till_admin_";

const RANDOM_LEN: usize = 32;

/// Why a text is not an admin token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminTokenError {
    /// Another prefix, or not 32 bytes in base62.
    #[error("an admin token is `{ADMIN_TOKEN_PREFIX}…` as till printed it")]
    NotAnAdminToken,
    /// The right prefix with a wrong checksum.
    #[error("the admin token is damaged or incomplete, its checksum doesn't fit: copy the whole token again")]
    Checksum,
}

/// An admin token out of 32 fresh random bytes: prefix, 44 base62 digits, `_`, and a checksum of 6.
pub fn mint_admin_token(random: [u8; RANDOM_LEN]) -> Secret {
    checked_text::write(ADMIN_TOKEN_PREFIX, &*Zeroizing::new(random))
}

/// Whether a text has the form of an admin token. Whether it is one, its hash in the store says.
///
/// # Errors
/// [`AdminTokenError`] names what is wrong and repeats no part of the text.
pub fn check_admin_token(text: &str) -> Result<(), AdminTokenError> {
    match checked_text::read(ADMIN_TOKEN_PREFIX, text) {
        Ok(bytes) if bytes.len() == RANDOM_LEN => Ok(()),
        Ok(_) | Err(TextError::Prefix | TextError::Digits) => Err(AdminTokenError::NotAnAdminToken),
        Err(TextError::Checksum) => Err(AdminTokenError::Checksum),
    }
}

/// What the store keeps of an admin token. A plain hash is enough, because 256 random bits can't be guessed.
pub fn admin_token_hash(token: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"till/v1/admin-token").chain_update(token).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::{AdminTokenError, admin_token_hash, check_admin_token, mint_admin_token};
    use crate::token::{checked_text, token_fingerprint};

    #[test]
    fn minted_tokens_have_the_form() {
        for byte in [0, 7, 255] {
            let token = mint_admin_token([byte; 32]);
            let token = token.reveal_str().expect("digits are ASCII");
            assert_eq!(token.len(), "till_admin_".len() + 44 + 1 + 6);
            assert_eq!(check_admin_token(token), Ok(()));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let token = mint_admin_token([7; 32]);
        let token = token.reveal_str().expect("digits are ASCII");
        let short = checked_text::write("till_admin_", &[7; 31]);
        for (text, error) in [
            ("", AdminTokenError::NotAnAdminToken),
            ("till_sk_0", AdminTokenError::NotAnAdminToken),
            (short.reveal_str().expect("digits are ASCII"), AdminTokenError::NotAnAdminToken),
            ("till_admin_secret", AdminTokenError::Checksum),
            (&token[..token.len() - 1], AdminTokenError::Checksum),
            (&format!("{token}\n"), AdminTokenError::Checksum),
        ] {
            assert_eq!(check_admin_token(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_hash_is_for_this_purpose_alone() {
        assert_ne!(admin_token_hash("till_admin_a"), admin_token_hash("till_admin_b"));
        assert_ne!(admin_token_hash("till_admin_a"), token_fingerprint("till_admin_a"));
    }
}
