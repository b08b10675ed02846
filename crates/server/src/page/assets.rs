//! The style sheet, the script and the icon. Their addresses name their content, so a browser may
//! keep them for ever.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use sha2::{Digest, Sha256};

/// A file of the page.
pub(super) struct Asset {
    kind: &'static str,
    content: &'static str,
    /// Where it is found.
    pub(super) path: String,
}

impl Asset {
    fn new((name, suffix): (&str, &str), kind: &'static str, content: &'static str) -> Self {
        let digest = hex::encode(Sha256::digest(content));
        let digest = digest.get(..16).unwrap_or_default();
        let path = format!("/page/{name}-{digest}.{suffix}");
        Self {
            kind,
            content,
            path,
        }
    }
}

/// The style sheet.
pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let kind = "text/css; charset=utf-8";
    Asset::new(("style", "css"), kind, include_str!("style.css"))
});

/// The script.
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let kind = "text/javascript; charset=utf-8";
    Asset::new(("live", "js"), kind, include_str!("live.js"))
});

/// The icon.
pub(super) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    let kind = "image/svg+xml";
    Asset::new(("icon", "svg"), kind, include_str!("icon.svg"))
});

/// Serves them, to anyone: they are the same for everybody.
pub(super) fn router() -> Router {
    let assets: [&'static Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    assets.into_iter().fold(Router::new(), |router, asset| {
        let headers = [
            (header::CONTENT_TYPE, asset.kind),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ];
        router.route(
            &asset.path,
            get(move || async move { (headers, asset.content) }),
        )
    })
}
