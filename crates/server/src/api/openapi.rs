//! The `OpenAPI` document: made from the handlers, beside the routes themselves.

use std::collections::BTreeMap;

use axum::Router;
use axum::handler::Handler;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::Serialize;
use utoipa::openapi::path::{Operation, Paths};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, OpenApi, RefOr, ResponseBuilder};
use utoipa::{IntoParams, OpenApi as _, ToSchema};
use utoipa_axum::PathItemExt;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::problem::ProblemKind;

/// A handler with what it says of itself, and the kinds of problem it answers with, which stand
/// beside those that any may. The handler is named by its module, as `tasks::show::<S>`.
macro_rules! handler {
    ($module:ident :: $handler:ident $(:: <$store:ident>)? $(, $kind:ident)* $(,)?) => {
        pastey::paste! {
            $crate::api::openapi::route::<$module::[<__path_ $handler>], _, _, _>(
                &$module::$handler$(::<$store>)?,
                &[$($crate::problem::ProblemKind::$kind),*],
            )
        }
    };
}
pub(super) use handler;

/// One handler's route and its part of the document.
pub(super) fn route<P, H, T, S>(handler: &H, kinds: &[ProblemKind]) -> UtoipaMethodRouter<S>
where
    P: utoipa::Path + utoipa::__dev::SchemaReferences,
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    let mut schemas = Vec::new();
    P::schemas(&mut schemas);
    let mut operation = P::operation();
    add_problems(&mut operation, kinds);
    let mut paths = Paths::new();
    paths.add_path_operation(P::path(), P::methods(), operation);
    let router = P::methods()
        .iter()
        .fold(MethodRouter::new(), |router, method| {
            router.on(method.to_method_filter(), handler.clone())
        });
    (schemas, paths, router)
}

/// What any handler may answer with.
const ALWAYS: [ProblemKind; 4] = [
    ProblemKind::RequestTimeout,
    ProblemKind::RateLimited,
    ProblemKind::Unavailable,
    ProblemKind::Internal,
];

fn add_problems(operation: &mut Operation, kinds: &[ProblemKind]) {
    let mut by_status = BTreeMap::<u16, Vec<ProblemKind>>::new();
    for kind in kinds.iter().chain(&ALWAYS) {
        by_status
            .entry(kind.status().as_u16())
            .or_default()
            .push(*kind);
    }
    for (status, kinds) in by_status {
        let types = kinds.iter().map(|kind| kind.urn()).collect::<Vec<_>>();
        let description = types.join(" or ");
        let object = |schema_type| ObjectBuilder::new().schema_type(SchemaType::Type(schema_type));
        let schema = object(Type::Object)
            .property("type", object(Type::String).enum_values(Some(types)))
            .property("title", object(Type::String))
            .property("status", object(Type::Integer).enum_values(Some([status])))
            .property("detail", object(Type::String));
        let schema = ["type", "title", "status", "detail"]
            .into_iter()
            .fold(schema, utoipa::openapi::ObjectBuilder::required);
        let content = ContentBuilder::new()
            .schema(Some(RefOr::T(Schema::Object(schema.build()))))
            .build();
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/problem+json", content)
            .build();
        let responses = &mut operation.responses.responses;
        responses.insert(status.to_string(), RefOr::T(response));
    }
}

/// The document without its paths.
pub(super) fn base() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(
        info(
            title = "Undertone",
            description = "The aggregation service: it learns only sums. Clients are authenticated \
                           by the signatures of their messages, administrators by bearer tokens.",
        ),
        tags(
            (name = "tasks", description = "What a client reads of a task"),
            (name = "rounds", description = "What a client reads of a round, and sends"),
            (name = "admin", description = "Tasks, rounds and tokens for administrators"),
            (name = "health", description = "Liveness and readiness"),
        )
    )]
    struct Base;
    let mut document = Base::openapi();
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document
        .components
        .get_or_insert_with(Components::new)
        .add_security_scheme("token", token);
    document
}

/// Serves the document as `/openapi.json`, and a page to browse it as `/docs`. The page comes from
/// this process alone, and its policy says so.
pub(super) fn pages(document: &OpenApi) -> Router {
    let config = Config::from("/openapi.json").try_it_out_enabled(false);
    let page: Router = SwaggerUi::new("/docs").config(config).into();
    let page = page.layer(middleware::map_response(self_contained));
    let json = serde_json::to_vec(document).unwrap_or_default();
    let show = move || async move { ([(header::CONTENT_TYPE, "application/json")], json) };
    Router::new().route("/openapi.json", get(show)).merge(page)
}

async fn self_contained(mut response: Response) -> Response {
    let policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                  img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    let headers = response.headers_mut();
    let set: [(HeaderName, &'static str); 3] = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if response.status() == StatusCode::NOT_FOUND {
        return crate::problem::Problem::new(ProblemKind::NotFound, "no such page").into_response();
    }
    response
}

/// The task of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes a path; it is never made")]
pub(super) struct TaskPath {
    /// The task's id.
    #[param(pattern = "^[0-9a-f]{32}$")]
    task: String,
}

/// The round of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes a path; it is never made")]
pub(super) struct RoundPath {
    /// The round's id.
    #[param(pattern = "^[0-9a-f]{64}$")]
    round: String,
}

/// The client of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes a path; it is never made")]
pub(super) struct IndexPath {
    /// The client's roster index.
    #[param(minimum = 0, maximum = 4_294_967_295_u32)]
    index: u32,
}

/// The phase of a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes a path; it is never made")]
pub(super) struct PhasePath {
    /// The phase's name.
    #[param(inline)]
    phase: PhaseSchema,
}

/// The phases by name.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code, reason = "describes a path; it is never made")]
pub(super) enum PhaseSchema {
    AdvertiseKeys,
    ShareKeys,
    MaskedInput,
    ConsistencyCheck,
    Unmask,
}

/// Bytes, as the specification of the protocol defines them.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "describes a body; it is never made")]
pub(super) struct Bytes(Vec<u8>);
