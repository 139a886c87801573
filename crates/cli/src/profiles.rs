//! Profiles: the instances that somebody is logged in to, each with an address and an admin token, in one file.
//!
//! Invariants: only its owner can read the file, and one that others can read is not used; it is replaced all at once,
//! and two commands that change it do so one after the other; no message repeats what stands in it, because that may
//! be a token.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use till_core::secret::Secret;

use crate::env::Surroundings;
use crate::exit::Usage;
use crate::local_file;

/// The profile of whoever has one.
pub(crate) const DEFAULT: &str = "default";

/// Longest name of a profile.
const NAME_MAX: usize = 64;

/// No file of profiles is larger.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Permission bits of others to change what is in a directory.
const OTHERS_WRITE: u32 = 0o022;

/// Somewhere that one is logged in. No `Debug`: it holds a token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Where the instance is, without a slash at the end.
    pub(crate) url: String,
    pub(crate) admin_token: Secret,
    /// Certificates that it may be signed by, besides the system's. Absolute paths.
    pub(crate) ca_file: Vec<PathBuf>,
}

/// All profiles, and which of them is used when nobody says otherwise.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Profiles {
    pub(crate) chosen: Option<String>,
    pub(crate) all: BTreeMap<String, Profile>,
}

/// The file as it is written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FileToml {
    chosen: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, ProfileToml>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileToml {
    url: String,
    admin_token: String,
    #[serde(default)]
    ca_file: Vec<PathBuf>,
}

/// Where the profiles are.
///
/// # Errors
/// There is no home directory.
pub(crate) fn path(surroundings: &Surroundings) -> anyhow::Result<PathBuf> {
    surroundings.profiles_file().ok_or_else(|| {
        Usage("there is no home directory to keep profiles in: set HOME or XDG_CONFIG_HOME".into()).into()
    })
}

/// A name that a profile can have: it stands in commands, and is never quoted there.
///
/// # Errors
/// The rule.
pub(crate) fn checked_name(name: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_plain) && !name.starts_with(['-', '.']) {
        return Ok(name.to_owned());
    }
    Err(format!(
        "expected 1 to {NAME_MAX} letters, digits, `-`, `_` or `.`, beginning with a letter or digit"
    ))
}

impl Profiles {
    /// Reads the file; without one there are no profiles.
    ///
    /// # Errors
    /// Others can read it, or it is not what `till login` writes.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        };
        // Asked of the open file: it is the one that is read.
        let metadata = file.metadata().with_context(|| format!("can't read {}", path.display()))?;
        if metadata.mode() & OTHERS != 0 {
            bail!(
                "{path} has admin tokens and others than its owner may read or change it, so it is not used.\n\
                 If nobody else can have read it: chmod 600 {path}\n\
                 Otherwise remove it, have the tokens in it rotated (`till tokens rotate`) and log in again with `till login`.",
                path = path.display()
            );
        }
        let mut text = String::new();
        let read = file.by_ref().take(FILE_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|_| anyhow!("{} is not a text", path.display()))?;
        Self::parse(&text).with_context(|| {
            format!(
                "{} can't be used; correct it, or remove it and log in again with `till login`",
                path.display()
            )
        })
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: FileToml = toml::from_str(text).map_err(|error: toml::de::Error| {
            // Its message would show the line, and what it expected and found: both can be a token.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            anyhow!("line {} is not as `till login` writes it", before.matches('\n').count() + 1)
        })?;
        let mut all = BTreeMap::new();
        for (name, profile) in file.profiles {
            let name =
                checked_name(&name).map_err(|rule| anyhow!("the name of a profile is wrong: {rule}"))?;
            let ProfileToml { url, admin_token, ca_file } = profile;
            all.insert(name, Profile { url, admin_token: Secret::new(admin_token), ca_file });
        }
        Ok(Self { chosen: file.chosen, all })
    }

    fn render(&self) -> Secret {
        let mut profiles = toml::Table::new();
        for (name, profile) in &self.all {
            let mut table = toml::Table::new();
            table.insert("url".to_owned(), profile.url.clone().into());
            let token = profile.admin_token.reveal_str().unwrap_or_default();
            table.insert("admin_token".to_owned(), token.to_owned().into());
            if !profile.ca_file.is_empty() {
                let files = profile.ca_file.iter().map(|file| file.display().to_string().into()).collect();
                table.insert("ca_file".to_owned(), toml::Value::Array(files));
            }
            profiles.insert(name.clone(), toml::Value::Table(table));
        }
        let mut file = toml::Table::new();
        if let Some(chosen) = &self.chosen {
            file.insert("chosen".to_owned(), chosen.clone().into());
        }
        file.insert("profiles".to_owned(), toml::Value::Table(profiles));
        Secret::new(format!(
            "# Written by `till login`. It has admin tokens: nobody else may read it.\n{file}"
        ))
    }

    /// Changes the file: reads it, lets `change` do its work, and puts it in its place all at once. Nobody else changes it
    /// meanwhile.
    ///
    /// # Errors
    /// As [`Profiles::load`], what `change` says, and that the file can't be written. Then it is as it was.
    pub(crate) fn update<T>(
        path: &Path,
        change: impl FnOnce(&mut Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let directory = path.parent().unwrap_or(Path::new("."));
        local_file::make_private_dir(directory)?;
        let mode = fs::metadata(directory).map_or(0, |metadata| metadata.mode());
        if mode & OTHERS_WRITE != 0 {
            bail!(
                "others may change what is in {directory}, so no admin token is kept there.\nDo: chmod 700 {directory}",
                directory = directory.display()
            );
        }
        let lock = directory.join("profiles.lock");
        let lock_file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        // Held until the end of this function.
        let lock_file = lock_file.with_context(|| format!("can't open {}", lock.display()))?;
        lock_file.lock().with_context(|| format!("can't lock {}", lock.display()))?;
        let mut profiles = Self::load(path)?;
        let before = profiles.clone();
        let done = change(&mut profiles)?;
        if profiles != before {
            local_file::replace_secret(path, &profiles.render())?;
        }
        Ok(done)
    }

    /// A profile that somebody names.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn named(&self, name: &str) -> anyhow::Result<&Profile> {
        self.all.get(name).ok_or_else(|| self.no_such(name))
    }

    pub(crate) fn no_such(&self, name: &str) -> anyhow::Error {
        let names: Vec<&str> = self.all.keys().map(String::as_str).collect();
        let known = if names.is_empty() {
            "there are none".to_owned()
        } else {
            format!("known are {}", names.join(", "))
        };
        Usage(format!("there is no profile {name}; {known}. `till login URL --profile {name}` makes it."))
            .into()
    }

    /// The profile for commands that name none, if one was chosen.
    ///
    /// # Errors
    /// The one that was chosen is not there.
    pub(crate) fn chosen(&self) -> anyhow::Result<Option<(&str, &Profile)>> {
        let Some(name) = self.chosen.as_deref() else { return Ok(None) };
        Ok(Some((name, self.named(name)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use till_core::secret::Secret;

    use super::{Profile, Profiles, checked_name};

    const TOKEN: &str = "till_admin_canary0123456789canary0123456789";

    fn profile(url: &str) -> Profile {
        Profile {
            url: url.into(),
            admin_token: Secret::new(TOKEN),
            ca_file: vec![PathBuf::from("/ca \"x\".pem")],
        }
    }

    fn write(path: &std::path::Path, wanted: &Profiles) -> anyhow::Result<()> {
        Profiles::update(path, |profiles| {
            profiles.clone_from(wanted);
            Ok(())
        })
    }

    fn mode(path: &std::path::Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_written_is_read_and_private() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config/till/profiles.toml");
        assert!(Profiles::load(&path).unwrap() == Profiles::default());
        let mut wanted =
            Profiles { chosen: Some("a".into()), all: [("a".into(), profile("https://a"))].into() };
        write(&path, &wanted).unwrap();
        assert!(Profiles::load(&path).unwrap() == wanted);
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
        // A file that is replaced stays private, and nothing stays beside it.
        wanted.all.insert("b.1".into(), profile("https://b"));
        write(&path, &wanted).unwrap();
        assert!(Profiles::load(&path).unwrap() == wanted);
        assert_eq!(mode(&path), 0o600);
        let mut names: Vec<_> =
            fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["profiles.lock", "profiles.toml"]);
    }

    #[test]
    fn what_others_can_read_is_not_used() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("profiles.toml");
        Profiles::update(&path, |profiles| {
            profiles.all.insert("a".into(), profile("https://a"));
            Ok(())
        })
        .unwrap();
        for bits in [0o640, 0o604, 0o620, 0o602, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            let said = format!("{:#}", Profiles::load(&path).err().unwrap());
            assert!(said.contains("chmod 600") && !said.contains(TOKEN), "{said}");
            assert!(Profiles::update(&path, |_| Ok(())).is_err());
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Profiles::load(&path).is_ok());
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let said = format!("{:#}", Profiles::update(&path, |_| Ok(())).err().unwrap());
        assert!(said.contains("chmod 700"), "{said}");
    }

    #[test]
    fn a_broken_file_is_not_repeated() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("profiles.toml");
        for text in [
            format!("[profiles.a]\nurl = \"https://a\"\nadmin_token = {TOKEN}\n"),
            format!("[profiles.a]\nurl = \"https://a\"\nadmin_tokn = \"{TOKEN}\"\n"),
            format!("[profiles.a]\nurl = \"https://a\"\n{TOKEN} = 1\n"),
            format!("[profiles.\"{TOKEN}{TOKEN}{TOKEN}\"]\nurl = \"https://a\"\nadmin_token = \"x\"\n"),
            format!("chosen = [\"{TOKEN}\"]\n"),
            TOKEN.to_owned(),
        ] {
            fs::write(&path, &text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let said = format!("{:#}", Profiles::load(&path).err().unwrap());
            assert!(!said.contains("canary") && said.contains("profiles.toml"), "{said}");
            // What can't be read is not replaced either: it may have tokens that nobody else has.
            assert!(write(&path, &Profiles::default()).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("profiles.toml");
        std::thread::scope(|scope| {
            for number in 0..16 {
                let path = &path;
                scope.spawn(move || {
                    Profiles::update(path, |profiles| {
                        profiles.all.insert(format!("p{number}"), profile("https://a"));
                        Ok(())
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(Profiles::load(&path).unwrap().all.len(), 16);
    }

    #[test]
    fn names_are_plain() {
        for name in ["default", "a", "prod.eu-1", "A_b", &"x".repeat(64)] {
            assert!(checked_name(name).is_ok(), "{name}");
        }
        for name in ["", "a b", "-a", ".a", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(checked_name(name).is_err(), "{name}");
        }
    }
}
