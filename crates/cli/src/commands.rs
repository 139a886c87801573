//! What the commands do, one file per group.

mod admin;
mod audit;
mod audit_export;
mod audit_verify;
mod backup;
mod completions;
mod config;
mod confirm;
mod credentials;
mod doctor;
mod entity;
mod holds;
mod key_create;
mod key_explain;
mod key_update;
mod keys;
mod kill_switch;
mod licenses;
mod login;
mod man;
mod master_key;
mod members;
mod policy;
mod prices;
mod profiles;
mod progress;
mod projects;
mod providers;
mod sbom;
mod status;
mod tokens;
mod upstream_key;
mod usage;
mod version;
mod whoami;

use crate::args::{
    AdminCommand, Cli, Command, ConfigCommand, HoldsCommand, KeysCommand, PricesCommand, ProvidersCommand,
};
use crate::env::Surroundings;
use crate::{start, tls};

/// Does what was asked for.
pub(crate) fn run(cli: Cli, surroundings: &Surroundings) -> anyhow::Result<()> {
    tls::install_provider();
    match cli.command {
        Command::Start(flags) => start::run(&flags, surroundings),
        Command::Keys(KeysCommand::Create(wanted)) => key_create::run(&wanted, surroundings),
        Command::Keys(KeysCommand::List(wanted)) => keys::list(&wanted, surroundings),
        Command::Keys(KeysCommand::Show(key)) => keys::show(&key, surroundings),
        Command::Keys(KeysCommand::Explain(wanted)) => key_explain::run(&wanted, surroundings),
        Command::Keys(KeysCommand::Update(wanted)) => key_update::update(&wanted, surroundings),
        Command::Keys(KeysCommand::Pause { key, reason }) => {
            key_update::pause(&key, reason.as_deref(), true, surroundings)
        }
        Command::Keys(KeysCommand::Resume(key)) => key_update::pause(&key, None, false, surroundings),
        Command::Keys(KeysCommand::Revoke(wanted)) => match &wanted.id {
            Some(id) => keys::revoke(id, &wanted.connection, wanted.output, surroundings),
            None => key_update::revoke_many(&wanted, surroundings),
        },
        Command::Credentials(command) => credentials::run(&command, surroundings),
        Command::Projects(command) => projects::run(&command, surroundings),
        Command::Members(command) => members::run(&command, surroundings),
        Command::Tokens(command) => tokens::run(&command, surroundings),
        Command::Login(wanted) => login::login(&wanted, surroundings),
        Command::Logout(wanted) => login::logout(&wanted, surroundings),
        Command::Profiles(command) => profiles::run(&command, surroundings),
        Command::Whoami { connection, output } => whoami::run(&connection, output, surroundings),
        Command::Usage(wanted) => usage::run(&wanted, surroundings),
        Command::Holds(HoldsCommand::List { connection, output }) => {
            holds::list(&connection, output, surroundings)
        }
        Command::Holds(HoldsCommand::Forgive { id, connection, output }) => {
            holds::forgive(&id, &connection, output, surroundings)
        }
        Command::Prices(PricesCommand::List { provider, form, directories }) => {
            prices::list(provider.as_deref(), form, &directories, surroundings)
        }
        Command::Prices(PricesCommand::Show { model, provider, directories, output }) => {
            prices::show(&model, provider.as_deref(), &directories, output, surroundings)
        }
        Command::Prices(PricesCommand::Check { file, directories, output }) => {
            prices::check(file.as_deref(), &directories, output, surroundings)
        }
        Command::Prices(PricesCommand::Update { file, directories, output }) => {
            prices::update(&file, &directories, output, surroundings)
        }
        Command::KillSwitch(command) => kill_switch::run(&command, surroundings),
        Command::Audit(command) => audit::run(&command, surroundings),
        Command::Status { connection, output } => status::run(&connection, output, surroundings),
        Command::Providers(ProvidersCommand::List { output }) => providers::list(output, surroundings),
        Command::Providers(ProvidersCommand::Show { id, output }) => {
            providers::show(&id, output, surroundings)
        }
        Command::Config(ConfigCommand::Check { settings, output }) => {
            config::check(&settings, output, surroundings)
        }
        Command::Config(ConfigCommand::Show { settings, output }) => {
            config::show(&settings, output, surroundings)
        }
        Command::Doctor { settings, output } => doctor::run(&settings, output, surroundings),
        Command::Admin(AdminCommand::ResetOwner { directories, output }) => {
            admin::reset_owner(&directories, output, surroundings)
        }
        Command::Admin(AdminCommand::AcceptRollback { connection, output }) => {
            admin::accept_rollback(&connection, output, surroundings)
        }
        Command::Backup(wanted) => backup::backup(&wanted, surroundings),
        Command::Restore(wanted) => backup::put_back(&wanted, surroundings),
        Command::MasterKey(command) => master_key::run(&command, surroundings),
        Command::Completions { shell } => completions::run(shell),
        Command::Man { directory } => man::run(&directory),
        Command::Licenses { output } => licenses::run(output),
        Command::Sbom => sbom::run(),
        Command::Version { output } => version::run(output),
    }
}
