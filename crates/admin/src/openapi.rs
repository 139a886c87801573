//! The OpenAPI 3.1 document: collected from the handlers by the router, completed here with what holds for all of them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::error::{ErrorBody, ErrorCode};
use crate::permission::Access;
use crate::router::Shared;

/// Name of the security scheme in the document.
const ADMIN_TOKEN: &str = "adminToken";

/// What the derive can't take from the handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "till",
        description = "Administration of till: mint disposable scoped keys out of one real API key, watch and revoke them.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "This instance")),
    tags(
        (name = "Keys", description = "Mint, list, show, change and revoke scoped keys."),
        (name = "Claims", description = "Hand a key over by a link that shows it once."),
        (name = "Usage", description = "What was used, call by call and in sums, and what a crash left open."),
        (name = "Providers", description = "The APIs that scoped keys can be minted for."),
        (name = "Projects", description = "Tenants: their rules, and what their keys may use together."),
        (name = "Admin tokens", description = "Who may call this API: roles, projects, networks, rotation."),
        (name = "Upstream credentials", description = "Real keys that are stored once and minted from by name."),
        (name = "Members", description = "People who administer, with a password for the dashboard."),
        (name = "Account", description = "Who one is, and totals."),
        (name = "Instance", description = "The process, its store, its kill switch, its master keys and its audit log."),
        (name = "Watching", description = "Health, readiness and counters."),
        (name = "Documentation", description = "This documentation."),
    ),
    components(schemas(
        ErrorBody,
        crate::account::AccountAnswer,
        crate::audit::AuditAnswer,
        crate::backups::BackupNoteAnswer,
        crate::backups::BackupNoteBody,
        crate::audit::AuditEntryAnswer,
        crate::audit_checkpoints::CheckpointsAnswer,
        crate::audit_find::AuditFindAnswer,
        crate::audit_find::AuditFindBody,
        crate::claim::ClaimAnswer,
        crate::claim::ClaimBody,
        crate::credentials::CredentialAnswer,
        crate::credentials::CredentialCreateBody,
        crate::credentials::CredentialListAnswer,
        crate::credentials::CredentialUpdateBody,
        crate::health::HealthAnswer,
        crate::error::NotReadyBody,
        crate::holds::HoldForgiveAnswer,
        crate::holds::HoldListAnswer,
        crate::instance::InstanceAnswer,
        crate::key_create::KeyCreateBody,
        crate::key_explain::KeyExplainAnswer,
        crate::key_explain::KeyExplainBody,
        crate::key_json::KeyAnswer,
        crate::key_json::KeyCreateAnswer,
        crate::key_json::KeyListAnswer,
        crate::key_update::KeyUpdateBody,
        crate::kill_switch::KillSwitchAnswer,
        crate::kill_switch::KillSwitchBody,
        crate::keys_revoke::KeysRevokeAnswer,
        crate::keys_revoke::KeysRevokeBody,
        crate::login::LoginAnswer,
        crate::login::LoginBody,
        crate::login::PasswordBody,
        crate::master_key_api::MasterKeyAnswer,
        crate::master_key_api::MasterKeyListAnswer,
        crate::members::MemberAnswer,
        crate::members::MemberCreateBody,
        crate::members::MemberListAnswer,
        crate::members::MemberUpdateBody,
        crate::projects::ProjectAnswer,
        crate::projects::ProjectCreateBody,
        crate::projects::ProjectListAnswer,
        crate::projects::ProjectUpdateBody,
        crate::providers::ProviderListAnswer,
        crate::tokens::TokenAnswer,
        crate::tokens::TokenCreateBody,
        crate::tokens::TokenListAnswer,
        crate::tokens::TokenRotateBody,
        crate::tokens::TokenSecretAnswer,
        crate::tokens::TokenUpdateBody,
        crate::usage::UsageAnswer,
        crate::usage::UsageSummaryAnswer,
        crate::who::WhoAnswer,
    )),
    modifiers(&CommonParts),
)]
pub(crate) struct Document;

struct CommonParts;

impl Modify for CommonParts {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("till_admin_…")
            .description(Some("An admin token, `till_admin_…`, as `till start` printed it."))
            .build();
        components.add_security_scheme(ADMIN_TOKEN, SecurityScheme::Http(scheme));
    }
}

/// Adds to an operation what follows from who may call it: the security requirement, and the errors that any
/// request can meet before its handler runs or when the store fails.
pub(crate) fn complete(operation: &mut Operation, access: Access) {
    if let Access::Page(permission) | Access::Token(permission) = access {
        let extension = ExtensionsBuilder::new().add("x-till-permission", permission.as_str()).build();
        operation.extensions = Some(extension);
        let mut security = vec![SecurityRequirement::new::<_, [&str; 0], &str>(ADMIN_TOKEN, [])];
        if matches!(access, Access::Page(_)) {
            // Or none, on a loopback listener.
            security.push(SecurityRequirement::default());
        }
        operation.security = Some(security);
        for code in [ErrorCode::Unauthorized, ErrorCode::Forbidden, ErrorCode::LedgerUnavailable] {
            add_error(operation, code);
        }
    }
    if matches!(access, Access::Token(_)) && !operation.responses.responses.contains_key("400") {
        add_error(operation, ErrorCode::InvalidQuery);
    }
    add_error(operation, ErrorCode::InternalError);
}

fn add_error(operation: &mut Operation, code: ErrorCode) {
    let content = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("Error")))).build();
    let response =
        ResponseBuilder::new().description(code.meaning()).content("application/json", content).build();
    operation.responses.responses.entry(code.status().as_str().to_owned()).or_insert(RefOr::T(response));
}

/// This document
///
/// OpenAPI 3.1. Needs an admin token unless till listens on a loopback address only.
#[utoipa::path(get, path = "/admin/openapi.json",
    responses((status = 200, description = "The OpenAPI document", body = Object, content_type = "application/json")))]
pub(crate) async fn openapi_json(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], shared.openapi_json())
}
