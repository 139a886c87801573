//! `docs/configuration.md`, written from the table and kept in step with it by a test.

use super::{Setting, TABLE};
use crate::snapshot;

const HEAD: &str = "\
# Configuration

till runs without any configuration. What can be set is listed below; each setting is a flag of `till start`, an
environment variable and a key of the configuration file. A flag wins over a variable, a variable over the file, the file
over the default. A setting that may be given more than once is taken whole from the first of these places that has it;
in a variable its values are separated by `;`, in the file they are a list. A variable that is set to nothing counts as
not set.

Unknown and wrong settings, also unknown variables that start with `TILL_`, and files of settings that can't be used are
reported all at once, and till does not start with them. `till config check` does only this; `till config show` prints
every effective value and where it comes from. Both take the same flags as `till start`.

Times are a number with `ms`, `s`, `m` or `h`.
";

const TAIL: &str = r#"
## Providers of your own

Any HTTP API that takes its key in a header, in the query or with HTTP Basic can be added in the configuration file:

```toml
[providers.search]
base_url = "https://api.example.com/v1"
auth = { header = "x-api-key" }

[providers.mail]
base_url = "https://mail.example.com"
auth = { header = "authorization", template = "Token {key}" }

[providers.maps]
base_url = "https://maps.example.com/api"
auth = { query = "key" }

[providers.billing]
base_url = "https://billing.example.com"
auth = { basic = true }   # the upstream key is `user:password`
```

The name is at most 32 lower-case letters, digits and `-`, a letter first. `till keys create --provider search …` makes a
key for it, and `/proxy/search/…` is its path space.

## Prices of your own

Tables `[[prices]]` add prices or replace those of the built-in table; see [prices.md](prices.md).

## What costs nothing by itself

Under a limit in tokens or money till refuses what is in none of its tables, because it may make a request dearer than
what is set aside for it. What a provider has added since this version was built can be allowed by a row in the
configuration file, once you have read in the provider's documentation that it is not billed by itself:

```toml
[[neutral]]
provider = "openai"
field = "new_field"                  # a top-level member of JSON bodies

[[neutral]]
provider = "anthropic"
beta = "new-feature-2026-12-01"      # a value of the header anthropic-beta

[[neutral]]
provider = "openai"
tool = "new_client_tool"             # a type of tools that the client runs

[[neutral]]
provider = "mistral"
endpoint = "GET /v1/things/*"        # a method and a path that cost nothing; `*` is one segment, `**` at the end is the rest
```

A row that is wrong lets a key go over its limit: till then charges what the answer says was used, raises an alarm and
stops the key.

## Variables that are not settings

| variable | meaning |
| --- | --- |
| `TILL_ADMIN_KEY` | The admin key that the commands use. Set for `till start`, it presets the owner's key: `till_admin_` and at least 32 letters, digits, `_` or `-`. |
| `TILL_MASTER_KEY` | The master key, as till wrote it or as 64 hexadecimal digits. Neither `master.key` is read then, nor one written. |
| `TILL_MASTER_KEY_OLD` | Older master keys, with commas in between. Scoped keys that were made under them go on working. |
| `TILL_URL` | Where the commands find the server, instead of the file `address` in the data directory. |
| `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` | Proxies towards upstreams, also in lower case, which wins. The commands use none. |
"#;

fn render() -> String {
    let mut page = HEAD.to_owned();
    let mut section = "";
    for setting in TABLE {
        if setting.section != section {
            section = setting.section;
            page += &format!("\n## {section}\n");
        }
        page += &render_row(setting);
    }
    page + TAIL
}

fn render_row(setting: &Setting) -> String {
    let Setting { name, env, kind, default, help, .. } = setting;
    let key = if kind.is_in_file() { format!(" · `{}`", setting.toml_key()) } else { String::new() };
    let default = match default {
        super::table::Fallback::Value(text) => format!("`{text}`"),
        other => other.shown().to_owned(),
    };
    format!(
        "\n### `{name}`\n\n`--{name} {}` · `{env}`{key}\n\n{help}\n\nValue: {}. Default: {default}.\n",
        kind.value_name(),
        kind.rule(),
    )
}

#[test]
fn the_page_is_in_step_with_the_table() {
    snapshot::check("../../docs/configuration.md", &render());
}
