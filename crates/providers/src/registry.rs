//! All providers of this instance: built once at start, read without locks afterwards.

use crate::base_url::{BaseUrl, BaseUrlError};
use crate::builtin::ROWS;
use crate::custom::{CustomProvider, CustomProviderError};
use crate::neutral::{Neutral, NeutralError};
use crate::provider::Provider;

/// The providers by id.
#[derive(Clone, Debug)]
pub struct Registry {
    providers: Vec<Provider>,
}

/// Why a provider can't be pointed elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepointError {
    /// Neither built in nor configured.
    #[error("there is no provider {id:?}; known are {known}")]
    UnknownProvider {
        /// What was asked for.
        id: String,
        /// The ids that exist.
        known: String,
    },
    /// The address is none.
    #[error("the URL {url:?} of provider {id:?}: {error}")]
    Url {
        /// The provider.
        id: String,
        /// What was given, with a user name and password hidden.
        url: String,
        /// What is wrong with it.
        error: BaseUrlError,
    },
}

impl Default for Registry {
    fn default() -> Self {
        Self::builtin()
    }
}

impl Registry {
    /// The built-in providers.
    pub fn builtin() -> Self {
        Self { providers: ROWS.iter().map(Provider::from_row).collect() }
    }

    /// The provider with this id or alias.
    pub fn get(&self, id: &str) -> Option<&Provider> {
        self.position(id).map(|position| &self.providers[position])
    }

    /// All of them: the built-in ones in the order of the table, then custom ones as they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.providers.iter()
    }

    /// Points a provider at another address: a gateway, a test server, an installation of one's own.
    /// A version at the end of the URL's path is dropped where the provider's paths begin with it anyway; it is
    /// then the one for paths that have none.
    ///
    /// Keys that were sealed for the old address are not sent to the new one unless `accept_sealed`.
    /// Clear text to another machine is possible; whoever reads the configuration warns
    /// (see [`BaseUrl::is_loopback`]).
    ///
    /// # Errors
    /// An unknown provider, or a text that is no base URL.
    pub fn repoint(&mut self, id: &str, url: &str, accept_sealed: bool) -> Result<(), RepointError> {
        let Some(position) = self.position(id) else {
            return Err(RepointError::UnknownProvider { id: id.to_owned(), known: self.known() });
        };
        let base_url: BaseUrl = url.parse().map_err(|error| RepointError::Url {
            id: id.to_owned(),
            url: without_user_info(url),
            error,
        })?;
        let provider = &mut self.providers[position];
        set_base_url(provider, base_url);
        provider.accepts_sealed = accept_sealed;
        Ok(())
    }

    /// Says that what a provider was pointed to bills as the provider itself does: what that documents as not billed is
    /// not charged.
    ///
    /// # Errors
    /// An unknown provider.
    pub fn bills_alike(&mut self, id: &str) -> Result<(), RepointError> {
        let Some(position) = self.position(id) else {
            return Err(RepointError::UnknownProvider { id: id.to_owned(), known: self.known() });
        };
        self.providers[position].bills_alike = true;
        Ok(())
    }

    /// Adds a provider from configuration.
    ///
    /// One at the host of a built-in provider is that provider under another name: it gets the same path
    /// table and the same list of refused endpoints, so that no configuration opens a way around by accident.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn add_custom(&mut self, custom: CustomProvider) -> Result<(), Vec<CustomProviderError>> {
        let taken = self.get(&custom.id).map(|provider| provider.id().to_owned());
        let mut provider = custom.check(taken.as_deref())?;
        if let Some(url) = provider.base_url.clone()
            && let Some(row) = ROWS.iter().find(|row| row.owns(url.host()))
        {
            provider.row = Some(row);
            set_base_url(&mut provider, url);
            let path = provider.base_url().map_or("", BaseUrl::path_prefix).to_owned();
            if !path.is_empty() {
                return Err(vec![CustomProviderError::PathAtBuiltinHost {
                    id: provider.id.to_string(),
                    builtin: row.id,
                    path,
                }]);
            }
        }
        self.providers.push(provider);
        Ok(())
    }

    /// Adds a row to the tables of what a request to a provider may have without becoming dearer than its bound.
    ///
    /// # Errors
    /// See [`NeutralError`].
    pub fn add_neutral(&mut self, row: Neutral) -> Result<(), NeutralError> {
        row.check()?;
        let Some(position) = self.position(&row.provider) else {
            return Err(NeutralError::UnknownProvider(row.provider));
        };
        let provider = &mut self.providers[position];
        if provider.table_id().is_none() {
            return Err(NeutralError::NoTable(row.provider));
        }
        provider.neutral.push(row);
        Ok(())
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.providers.iter().position(|provider| provider.id() == id || provider.aliases().contains(&id))
    }

    fn known(&self) -> String {
        self.iter().map(Provider::id).collect::<Vec<_>>().join(", ")
    }
}

/// Sets the base URL. A version at the end of it that the provider's paths begin with anyway goes, and is
/// remembered for paths that come without one.
fn set_base_url(provider: &mut Provider, url: BaseUrl) {
    let mut versions: Vec<&'static str> = provider.paths().versions().collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.len()));
    let found = versions.into_iter().find_map(|version| Some((version, url.without_suffix(version)?)));
    match found {
        Some((version, shorter)) => {
            provider.default_version = Some(version);
            provider.base_url = Some(shorter);
        }
        None => {
            provider.default_version = None;
            provider.base_url = Some(url);
        }
    }
}

/// For a message: what may be a password in the URL is not repeated.
fn without_user_info(url: &str) -> String {
    match url.rfind('@') {
        Some(at) => format!("…{}", &url[at..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests;
