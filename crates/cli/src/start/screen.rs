//! The first screen: what a person needs next. It goes to stdout; the log goes to stderr.
//!
//! The owner's key comes before everything else, because it is shown before it is stored.

use std::io::{self, Write};

use till_core::secret::Secret;
use till_store::{KillSwitch, Store};

use super::{OwnerKey, VERSION};
use crate::env::{self, Surroundings};
use crate::output;
use crate::settings::Settings;

/// How a fence is taken down.
pub(super) const FENCE_FIX: &str = "till admin accept-rollback";

/// Prints the owner's key. When it returns, the key has left this process.
pub(super) fn show_owner_key(key: &Secret) -> io::Result<()> {
    print(&render_owner_key(key))
}

fn render_owner_key(key: &Secret) -> String {
    let key = key.reveal_str().expect("an admin key is ASCII");
    format!("The owner's admin key is shown only this once:\n\n  export {}={key}\n\n", env::ADMIN_KEY)
}

/// Prints the rest.
pub(super) fn show(
    settings: &Settings,
    surroundings: &Surroundings,
    url: &str,
    owner: OwnerKey,
    store: &Store,
) -> io::Result<()> {
    // Commands look in the default place; when the server is elsewhere they have to be told.
    let is_default_place =
        surroundings.data_dir().as_ref() == Some(&settings.data) && url.starts_with("http:");
    let mut text = render(url, &settings.data.display().to_string(), owner, is_default_place);
    if let Some(fence) = store.fenced() {
        text.push_str(&format!("\nALL KEYS ARE REFUSED: {}\nThe way out: {FENCE_FIX}\n", fence.reason));
    }
    if let Some(switch) = store.kill_switch() {
        text.push_str(&killed(&switch));
    }
    print(&text)
}

fn killed(switch: &KillSwitch) -> String {
    let reason = switch.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    format!(
        "\nALL KEYS ARE REFUSED: the kill switch is on since {}{}\nThe way out: till kill-switch off\n",
        switch.since,
        output::plain(&reason)
    )
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn render(url: &str, data: &str, owner: OwnerKey, is_default_place: bool) -> String {
    let mut text = format!(
        "till {VERSION} is running at {url}\nThe dashboard is at {url}/dashboard/\nIts data is in {data}\n"
    );
    if owner == OwnerKey::Made {
        text += "\nNext, in another terminal, after the export of the admin key above:\n\n";
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

    use super::{OwnerKey, render, render_owner_key};

    #[test]
    fn the_key_is_shown_once_and_what_to_do_next_on_the_first_start_only() {
        let key = render_owner_key(&Secret::new("till_admin_x"));
        assert!(key.contains("\n  export TILL_ADMIN_KEY=till_admin_x\n"));
        assert_eq!(key.matches("till_admin_").count(), 1, "once");
        let first = render("http://127.0.0.1:1", "/d", OwnerKey::Made, false);
        assert!(first.contains("\n  export TILL_URL=http://127.0.0.1:1\n  till keys create "));
        assert!(!render("http://127.0.0.1:1", "/d", OwnerKey::Made, true).contains("TILL_URL"));
        for other in [OwnerKey::Kept, OwnerKey::Preset] {
            let text = render("http://127.0.0.1:1", "/d", other, true);
            assert!(!text.contains("keys create") && text.contains("http://127.0.0.1:1/v1"));
            assert!(text.contains("\nThe dashboard is at http://127.0.0.1:1/dashboard/\n"));
        }
    }
}
