//! The first screen: what a person needs next. It goes to stdout; the log goes to stderr.

use std::io::{self, Write};

use till_store::Store;

use super::{OwnerKey, VERSION};
use crate::env::{self, Surroundings};
use crate::settings::Settings;

/// Prints it. The owner's key is flushed before anything else happens.
pub(super) fn show(
    settings: &Settings,
    surroundings: &Surroundings,
    url: &str,
    owner: &OwnerKey,
    store: &Store,
) -> io::Result<()> {
    // Commands look in the default place; when the server is elsewhere they have to be told.
    let is_default_place =
        surroundings.data_dir().as_ref() == Some(&settings.data) && url.starts_with("http:");
    let mut text = render(url, &settings.data.display().to_string(), owner, is_default_place);
    if let Some(fence) = store.fenced() {
        text.push_str(&format!(
            "\nALL KEYS ARE REFUSED: {}\nThe way out: till admin accept-rollback\n",
            fence.reason
        ));
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn render(url: &str, data: &str, owner: &OwnerKey, is_default_place: bool) -> String {
    let mut text = format!("till {VERSION} is running at {url}\nIts data is in {data}\n");
    if let OwnerKey::Made(key) = owner {
        let key = key.reveal_str().expect("an admin key is ASCII");
        text += "\nNext, in another terminal. The owner's admin key is shown only this once:\n";
        text += &format!("\n  export {}={key}\n", env::ADMIN_KEY);
        if !is_default_place {
            text += &format!("  export {}={url}\n", env::URL);
        }
        text += "  till keys create --provider openai --max-activations 50\n";
    }
    text + &format!(
        "\nPoint your SDK at {url}/v1 (OpenAI) or {url} (Anthropic, Google) with a scoped key in place of the real one.\n\
         The admin API is described at {url}/docs\n"
    )
}

#[cfg(test)]
mod tests {
    use till_core::secret::Secret;

    use super::{OwnerKey, render};

    #[test]
    fn the_key_is_shown_on_the_first_start_only() {
        let made = OwnerKey::Made(Secret::new("till_admin_x"));
        let first = render("http://127.0.0.1:1", "/d", &made, false);
        assert!(first.contains("\n  export TILL_ADMIN_KEY=till_admin_x\n"));
        assert_eq!(first.matches("till_admin_").count(), 1, "once");
        assert!(first.contains("export TILL_URL=http://127.0.0.1:1\n"));
        assert!(!render("http://127.0.0.1:1", "/d", &made, true).contains("TILL_URL"));
        for other in [OwnerKey::Kept, OwnerKey::Preset] {
            let text = render("http://127.0.0.1:1", "/d", &other, true);
            assert!(!text.contains("till_admin_") && text.contains("http://127.0.0.1:1/v1"));
        }
    }
}
