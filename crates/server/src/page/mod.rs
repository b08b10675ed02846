//! The operators' page: what runs, in a browser.
//!
//! Rendered here, complete without JavaScript, and from this process alone: a small script puts
//! fragments that are rendered here too in the place of older ones, as they come by server-sent
//! events. Behind a login with an admin token, whose scopes say what is shown and what can be done.
//!
//! | idea | module |
//! |---|---|
//! | who looks at it | `session`, `login` |
//! | what every page has around it | `frame`, `headers`, `assets` |
//! | all tasks | `tasks` |
//! | one task: its parts | `task`, of `round`, `past`, `budget` |
//! | what stands there, looked up once for all who look | `view` |
//! | how it moves | `live` |
//! | pausing, resuming, cancelling | `control` |
//! | the audit log, and its entries in words | `audit`, `entry` |
//! | what went wrong | `failure` |
//! | times, counts, tables | `words`, `table` |

mod assets;
mod audit;
mod budget;
mod control;
mod entry;
mod failure;
mod frame;
mod headers;
mod live;
mod login;
mod past;
mod round;
mod session;
mod table;
mod task;
mod tasks;
mod view;
pub(crate) mod words;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn_with_state, map_response};
use axum::routing::{get, post};
use axum::{Router, extract};
use tokio::sync::Semaphore;

use self::view::Views;
use crate::api;
use crate::app::App;
use crate::store::Store;

/// The longest form: a token and where to go.
const LONGEST_FORM: usize = 4096;

/// What the handlers of the page share.
#[derive(Debug)]
struct Page<S> {
    app: Arc<App<S>>,
    views: Views,
    streams: Arc<Semaphore>,
}

/// The state of a handler.
type PageState<S> = extract::State<Arc<Page<S>>>;

/// The routes of the page. They are for people: the `OpenAPI` document has none of them.
pub(crate) fn router<S: Store>(app: Arc<App<S>>) -> Router {
    let noted = from_fn_with_state(app.clone(), api::note_denials::<S>);
    let page = Page {
        app,
        views: Views::default(),
        streams: Arc::new(Semaphore::new(live::STREAMS)),
    };
    Router::new()
        .route("/", get(tasks::show::<S>))
        .route("/events", get(tasks::events::<S>))
        .route("/login", get(login::form::<S>).post(login::open::<S>))
        .route("/logout", post(login::close::<S>))
        .route("/tasks/{task}", get(task::show::<S>))
        .route("/tasks/{task}/events", get(task::events::<S>))
        .route("/tasks/{task}/audit", get(audit::of_task::<S>))
        .route(
            "/tasks/{task}/control/{action}",
            get(control::ask::<S>).post(control::set::<S>),
        )
        .route("/service/audit", get(audit::of_service::<S>))
        .layer(DefaultBodyLimit::max(LONGEST_FORM))
        .layer(noted)
        .with_state(Arc::new(page))
        .merge(assets::router())
        .layer(map_response(headers::strict))
}
