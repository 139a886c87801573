//! The OpenAPI 3.1 document: collected from the handlers by the router, completed here with what holds for all of them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, Header, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

use crate::authenticate::{CSRF_HEADER, SESSION_COOKIE};
use crate::error::{ErrorBody, ErrorCode};
use crate::permission::Access;
use crate::router::Shared;

/// Names of the security schemes in the document.
const ADMIN_TOKEN: &str = "adminToken";
const SESSION: &str = "session";
const CSRF: &str = "sessionWord";

/// What the derive can't take from the handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "till",
        description = "Administration of till: mint disposable scoped keys out of one real API key, watch and revoke them.\n\n\
            `x-till-permission` names the permission that a call needs; `GET /admin/self` lists one's own. Every answer carries \
            its request id in `x-till-request-id`. Besides what is listed with a call, a path can answer 405 for a method that \
            it does not have (`Allow` lists those that it has), and any request 400, 408 or 431 when it is no proper HTTP.",
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
        (name = "Watching", description = "Health, readiness, changes and counters."),
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
        crate::denials::DenialSummaryAnswer,
        crate::health::HealthAnswer,
        crate::error::NotReadyBody,
        crate::holds::HoldForgiveAnswer,
        crate::holds::HoldListAnswer,
        crate::instance::InstanceAnswer,
        crate::instance::RollbackAnswer,
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
        crate::overview::OverviewAnswer,
        crate::price_list::PriceListAnswer,
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
        let mut cookie = ApiKeyValue::new(SESSION_COOKIE);
        cookie.description =
            Some("The cookie that signing in sets. It counts where there is no `Authorization`.".to_owned());
        components.add_security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        let mut word = ApiKeyValue::new(CSRF_HEADER);
        word.description = Some(
            "The `csrfToken` that signing in answered: a change by somebody who is signed in carries it besides the cookie."
                .to_owned(),
        );
        components.add_security_scheme(CSRF, SecurityScheme::ApiKey(ApiKey::Header(word)));
    }
}

/// Adds to an operation what follows from who may call it: the security requirements, and the errors that any
/// request can meet before its handler runs or when the store fails.
pub(crate) fn complete(operation: &mut Operation, access: Access, is_read: bool) {
    if let Access::Page(permission) | Access::Token(permission) = access {
        let extension = ExtensionsBuilder::new().add("x-till-permission", permission.as_str()).build();
        operation.extensions = Some(extension);
        const NO_SCOPES: [&str; 0] = [];
        let session = SecurityRequirement::new(SESSION, NO_SCOPES);
        let session = if is_read { session } else { session.add(CSRF, NO_SCOPES) };
        let mut security = vec![SecurityRequirement::new(ADMIN_TOKEN, NO_SCOPES), session];
        if matches!(access, Access::Page(_)) {
            // Or none, on a loopback listener.
            security.push(SecurityRequirement::default());
        }
        operation.security = Some(security);
        for code in [ErrorCode::Unauthorized, ErrorCode::Forbidden, ErrorCode::LedgerUnavailable] {
            add_error(operation, code);
        }
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema {
            not_null(&mut schema.schema_type);
        }
    }
    if matches!(access, Access::Token(_)) && !operation.responses.responses.contains_key("400") {
        add_error(operation, ErrorCode::InvalidQuery);
    }
    add_error(operation, ErrorCode::InternalError);
}

/// A parameter can be absent, but there is no way to write null in a header or a query.
fn not_null(schema_type: &mut SchemaType) {
    if let SchemaType::Array(types) = schema_type {
        types.retain(|one| *one != Type::Null);
        if let [one] = types.as_slice() {
            *schema_type = SchemaType::Type(one.clone());
        }
    }
}

fn add_error(operation: &mut Operation, code: ErrorCode) {
    let content = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("Error")))).build();
    let mut response =
        ResponseBuilder::new().description(code.meaning()).content("application/json", content).build();
    if code == ErrorCode::Unauthorized {
        response.headers.insert("www-authenticate".to_owned(), Header::default());
    }
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
