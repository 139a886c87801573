//! Names of fields and query parameters: their two spellings, and which unknown ones may be repeated in a message.

/// The camelCase spelling of a snake_case name.
pub(crate) fn camel_case(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        camel.push_str(&first.to_ascii_uppercase());
        camel.push_str(rest);
    }
    camel
}

/// Longest name that is repeated.
const SHOWN_MAX: usize = 40;

/// Most digits in a name that is repeated; credentials have more.
const SHOWN_DIGITS_MAX: usize = 2;

/// An unknown name as it may stand in a message: itself when it looks like a field name, otherwise a
/// description, because a credential could have been put where a name belongs.
pub(crate) fn shown(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let credential =
        ["till_", "sk_", "pk_", "rk_", "gh", "github_"].iter().any(|prefix| name.starts_with(prefix));
    if plain && !name.is_empty() && name.len() <= SHOWN_MAX && digits <= SHOWN_DIGITS_MAX && !credential {
        format!("`{name}`")
    } else {
        "(a name that is not repeated here because it does not look like one)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{camel_case, shown};

    #[test]
    fn spells() {
        for (snake, camel) in [
            ("provider", "provider"),
            ("max_activations", "maxActivations"),
            ("max_spend_usd", "maxSpendUsd"),
            ("idle_expiry_seconds", "idleExpirySeconds"),
        ] {
            assert_eq!(camel_case(snake), camel);
        }
    }

    #[test]
    fn repeats_only_what_looks_like_a_name() {
        for name in ["max_request", "Provider", "maxActivation", "limit2"] {
            assert_eq!(shown(name), format!("`{name}`"));
        }
        for name in [
            "",
            "sk-proj-abc",
            "sk_live_abc",
            "till_admin_abc",
            "ghp_abcdef",
            "AKIAIOSFODNN7EXAMPL123",
            "a name",
            "ключ",
            "abcdefghijabcdefghijabcdefghijabcdefghija",
        ] {
            assert!(!shown(name).contains('`'), "{name}");
        }
    }
}
