//! DeepSeek documents completions, models and a balance, and nothing that would be a way around
//! (api-docs.deepseek.com/api/deepseek-api).

use super::DeniedEndpoint;

pub(crate) const DENIED: &[DeniedEndpoint] = &[];
